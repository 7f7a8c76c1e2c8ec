use super::*;
use ipnet::IpNet;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

/// A history, written down event by event.
#[derive(Debug, Clone, Default)]
struct Script(Vec<Event>);

impl Script {
    fn new() -> Self {
        let subnet: IpNet = "10.0.0.0/24".parse().expect("a subnet");
        Self(vec![Event::Pool("default".to_owned(), Pool::of_subnets(vec![subnet]))])
    }

    fn ask(&mut self, node: &str, call: Call) -> Moment {
        self.0.push(Event::Asked { node: node.to_owned(), call });
        self.0.len() - 1
    }

    fn answer(&mut self, question: Moment, answer: Answer) {
        self.0.push(Event::Answered(question, answer));
    }

    fn told(mut self, node: &str, call: Call, answer: Answer) -> Self {
        let question = self.ask(node, call);
        self.answer(question, answer);
        self
    }

    fn add(self, node: &str, container: &str, last: u8) -> Self {
        self.told(node, Call::Add(container.to_owned()), Answer::Given(vec![address(last)]))
    }

    fn add_unknown(self, node: &str, container: &str, answer: Answer) -> Self {
        self.told(node, Call::Add(container.to_owned()), answer)
    }

    fn del(self, node: &str, container: &str, last: u8) -> Self {
        self.told(node, Call::Del(container.to_owned()), Answer::Freed(vec![address(last)]))
    }

    fn sees(self, node: &str, held: &[(&str, u8)]) -> Self {
        let held = held.iter().map(|(container, last)| ((*container).to_owned(), vec![address(*last)]));
        self.told(node, Call::Status, Answer::Seen(held.collect()))
    }

    fn died(mut self, node: &str) -> Self {
        self.0.push(Event::Died(node.to_owned()));
        self
    }

    fn verdict(&self) -> Result<(), Violation> {
        check(&self.0)
    }

    fn good(&self) {
        assert_eq!(self.verdict(), Ok(()));
    }

    fn breaks(&self, invariant: &str) {
        let violation = self.verdict().expect_err("a bad history was accepted");
        assert!(violation.to_string().starts_with(invariant), "{violation}");
    }
}

#[test]
fn one_address_for_two_containers() {
    Script::new().add("a", "c1", 1).add("a", "c2", 1).breaks("I1");
    Script::new().add("a", "c1", 1).add("b", "c1", 1).breaks("I1");
    Script::new().add("a", "c1", 1).del("a", "c1", 1).add("b", "c1", 1).good();
    // The second is told of it only by a look.
    Script::new()
        .add("a", "c1", 1)
        .add_unknown("b", "c2", Answer::Broken)
        .sees("b", &[("c2", 1)])
        .breaks("I1");
    // Freed on one node while it is given on another.
    let mut script = Script::new().add("a", "c1", 1);
    let del = script.ask("a", Call::Del("c1".to_owned()));
    let mut script = script.add("b", "c2", 1);
    script.answer(del, Answer::Freed(vec![address(1)]));
    script.good();
}

#[test]
fn what_was_acknowledged_must_stay() {
    Script::new().add("a", "c1", 1).died("a").sees("a", &[("c1", 1)]).good();
    Script::new().add("a", "c1", 1).died("a").sees("a", &[]).breaks("I2");
    Script::new().add("a", "c1", 1).sees("a", &[("c1", 2)]).breaks("I2");
    Script::new().add("a", "c1", 1).add("a", "c1", 2).breaks("I2");
    Script::new().add("a", "c1", 1).del("a", "c1", 2).breaks("I2");
    let nothing = Answer::Seen(BTreeMap::new());
    Script::new().add("a", "c1", 1).told("a", Call::Check("c1".to_owned()), nothing).breaks("I2");
    let empty = Answer::Freed(Vec::new());
    Script::new().add("a", "c1", 1).told("a", Call::Del("c1".to_owned()), empty).breaks("I2");
}

#[test]
fn what_was_freed_must_stay_so() {
    let freed = Script::new().add("a", "c1", 1).del("a", "c1", 1);
    freed.clone().sees("a", &[]).good();
    freed.clone().sees("a", &[("c1", 1)]).breaks("I2");
    freed.add_unknown("a", "c1", Answer::Taken).breaks("I2");
    Script::new().sees("a", &[("nobody", 1)]).breaks("I2");
}

#[test]
fn what_had_no_answer_may_have_happened() {
    for lost in [Answer::Broken, Answer::GaveUp] {
        let script = Script::new().add_unknown("a", "c1", lost.clone()).died("a");
        script.clone().sees("a", &[]).good();
        script.clone().sees("a", &[("c1", 1)]).good();
        // One or the other, but not one after the other.
        script.clone().sees("a", &[("c1", 1)]).sees("a", &[]).breaks("I2");
        script.sees("a", &[("c1", 1)]).del("a", "c1", 1).sees("a", &[("c1", 1)]).breaks("I2");
    }
    // The client does not wait, and the node lives: it may happen later.
    let late = Script::new().add_unknown("a", "c1", Answer::GaveUp).sees("a", &[]);
    late.sees("a", &[("c1", 1)]).good();
    let lost = Script::new().add("a", "c1", 1).told("a", Call::Del("c1".to_owned()), Answer::Broken);
    lost.clone().sees("a", &[]).good();
    lost.clone().died("a").sees("a", &[("c1", 1)]).sees("a", &[]).breaks("I2");
    lost.sees("a", &[]).good();
    let refused = Script::new().add_unknown("a", "c1", Answer::Refused);
    refused.clone().sees("a", &[]).good();
}

#[test]
fn collections_and_reboots_end_what_they_name() {
    let two = Script::new().add("a", "c1", 1).add("a", "c2", 2);
    let kept = BTreeSet::from(["c1".to_owned()]);
    let collected = two.clone().told("a", Call::Collect(kept), Answer::Freed(vec![address(2)]));
    collected.clone().sees("a", &[("c1", 1)]).good();
    collected.clone().sees("a", &[]).breaks("I2");
    collected.sees("a", &[("c1", 1), ("c2", 2)]).breaks("I2");
    let mut rebooted = two.died("a");
    rebooted.0.push(Event::Rebooted("a".to_owned()));
    rebooted.clone().sees("a", &[]).add("b", "c3", 1).good();
    rebooted.sees("a", &[("c1", 1)]).breaks("I2");
}

#[test]
fn only_addresses_of_a_pool() {
    let pool = |subnet: &str, exclude: &[&str]| {
        let mut pool = Pool::of_subnets(vec![subnet.parse().expect("a subnet")]);
        pool.exclude = exclude.iter().map(|exclude| exclude.parse().expect("a subnet")).collect();
        pool.block_gateway = BlockGateway::First;
        pool
    };
    let with = |pool: Pool| Script(vec![Event::Pool("default".to_owned(), pool)]);
    with(pool("10.0.0.0/24", &["10.0.0.20/32"])).add("a", "c1", 21).good();
    for reserved in [16, 31, 20] {
        with(pool("10.0.0.0/24", &["10.0.0.20/32"])).add("a", "c1", reserved).breaks("I4");
    }
    with(pool("10.0.1.0/24", &[])).add("a", "c1", 1).breaks("I4");
    // Shrunk while it was given, and before.
    let mut script = with(pool("10.0.0.0/24", &[]));
    let add = script.ask("a", Call::Add("c1".to_owned()));
    script.0.push(Event::Pool("default".to_owned(), pool("10.0.1.0/24", &[])));
    script.answer(add, Answer::Given(vec![address(1)]));
    script.good();
    script.add("a", "c2", 2).breaks("I4");
}

/// A step of a model cluster of two nodes whose containers each have an address of their own.
#[derive(Debug, Clone)]
enum Step {
    /// Adds or frees, whichever is possible; the answer comes after so many further steps, or never.
    Toggle { node: usize, container: usize, late: usize, lost: bool },
    /// Looks, and is answered at once.
    Look { node: usize },
    /// Dies; nobody whose answer has not come gets one.
    Die { node: usize },
}

const NODES: [&str; 2] = ["a", "b"];
const CONTAINERS: usize = 4;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..NODES.len(), 0..CONTAINERS, 0_usize..4, prop::bool::weighted(0.1))
            .prop_map(|(node, container, late, lost)| Step::Toggle { node, container, late, lost }),
        2 => (0..NODES.len()).prop_map(|node| Step::Look { node }),
        1 => (0..NODES.len()).prop_map(|node| Step::Die { node }),
    ];
    prop::collection::vec(step, 1..60)
}

struct Model {
    script: Script,
    held: BTreeMap<(usize, usize), u8>,
    /// When each question's answer is due, its node, and what it is.
    due: Vec<(usize, usize, Moment, Answer)>,
}

impl Model {
    fn free_address(&self) -> u8 {
        (1..=u8::MAX).find(|last| !self.held.values().any(|held| held == last)).expect("few are held")
    }

    fn step(&mut self, now: usize, step: &Step) {
        match *step {
            Step::Toggle { node, container, late, lost } => {
                let name = format!("c{container}");
                let (call, answer) = if let Some(held) = self.held.remove(&(node, container)) {
                    (Call::Del(name), Answer::Freed(vec![address(held)]))
                } else {
                    let last = self.free_address();
                    self.held.insert((node, container), last);
                    (Call::Add(name), Answer::Given(vec![address(last)]))
                };
                let question = self.script.ask(NODES[node], call);
                let answer = if lost { Answer::GaveUp } else { answer };
                self.due.push((now + late, node, question, answer));
            }
            Step::Look { node } => {
                let of_node = self.held.iter().filter(|((of, _), _)| *of == node);
                let seen =
                    of_node.map(|((_, container), last)| (format!("c{container}"), vec![address(*last)]));
                let question = self.script.ask(NODES[node], Call::Status);
                self.script.answer(question, Answer::Seen(seen.collect()));
            }
            Step::Die { node } => {
                for due in self.due.iter_mut().filter(|due| due.1 == node) {
                    due.3 = Answer::Broken;
                }
                self.script.0.push(Event::Died(NODES[node].to_owned()));
            }
        }
        let (due, later) = std::mem::take(&mut self.due).into_iter().partition(|due| due.0 <= now);
        self.due = later;
        for (_, _, question, answer) in due {
            self.script.answer(question, answer);
        }
    }
}

/// What a cluster that keeps the invariants shows its clients.
fn good_history(steps: &[Step]) -> Script {
    let mut model = Model { script: Script::new(), held: BTreeMap::new(), due: Vec::new() };
    for (now, step) in steps.iter().enumerate() {
        model.step(now, step);
    }
    model.script
}

proptest! {
    #[test]
    fn good_histories_are_accepted(steps in steps()) {
        prop_assert_eq!(good_history(&steps).verdict(), Ok(()));
    }

    /// Whatever came before: a container whose hold is certain is forgotten, and another one gets its address.
    #[test]
    fn mutations_are_rejected(steps in steps(), choice: prop::sample::Index) {
        let script = good_history(&steps).add("a", "last", 200);
        let lives = lives(&script.0);
        let certain: Vec<(Holder, Vec<IpAddr>)> = lives
            .iter()
            .flat_map(|(holder, life)| {
                let open = life.holds().into_iter().filter(|hold| hold.to == NEVER);
                open.map(|hold| (holder.clone(), hold.addresses)).collect::<Vec<_>>()
            })
            .collect();
        let (holder, addresses) = choice.get(&certain).clone();
        // Given once more, to a container that was never heard of, on either node.
        for node in NODES {
            let twice = Call::Add("intruder".to_owned());
            script.clone().told(node, twice, Answer::Given(addresses.clone())).breaks("I1");
        }
        // Lost, changed, given anew, freed as another one.
        let seen = |held: Vec<IpAddr>| Answer::Seen(BTreeMap::from([(holder.container.clone(), held)]));
        let (node, container) = (holder.node.as_str(), holder.container.clone());
        script.clone().told(node, Call::Check(container.clone()), Answer::Seen(BTreeMap::new())).breaks("I2");
        script.clone().told(node, Call::Status, seen(vec![address(250)])).breaks("I2");
        script.clone().told(node, Call::Add(container.clone()), Answer::Given(vec![address(250)])).breaks("I2");
        script.clone().told(node, Call::Del(container.clone()), Answer::Freed(Vec::new())).breaks("I2");
        // Freed, and then there again; unless an ADD without an answer may have given it anew.
        if lives[&holder].adds.iter().all(|(span, _)| span.to != NEVER) {
            let freed = script.told(node, Call::Del(container), Answer::Freed(addresses.clone()));
            freed.told(node, Call::Status, seen(addresses)).breaks("I2");
        }
    }
}

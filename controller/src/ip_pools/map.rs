//! A pool address by address: what is free, what is set aside, and who has the rest.

use super::view::Leased;
use common::ipam::{Family, ServiceRange, Span, number};
use common::wire::admin::PodName;
use common::wire::namespaces::{Part, PartState};

/// The parts of a range, in address order and without gaps. `leased` are its leases in address order, `services` what of
/// it is set aside; `state_of` tells what a leased address is.
pub(super) fn map<'a>(
    span: &Span,
    services: &[ServiceRange],
    leased: impl Iterator<Item = &'a Leased>,
    state_of: impl Fn(&Leased) -> PartState,
) -> Vec<Part> {
    let mut services: Vec<&ServiceRange> = services.iter().collect();
    services.sort_by_key(|service| service.span.start);
    let range = span.range();
    let mut map = Map { family: range.family(), services, parts: Vec::new(), next: range.first() };
    for leased in leased.filter(|leased| range.contains(leased.address)) {
        map.fill_before(number(leased.address));
        map.put(leased, state_of(leased));
    }
    map.fill_before(range.last().saturating_add(1));
    map.parts
}

struct Map<'a> {
    family: Family,
    /// In address order.
    services: Vec<&'a ServiceRange>,
    parts: Vec<Part>,
    /// The first address that no part has yet.
    next: u128,
}

impl Map<'_> {
    /// Adds what nobody has, up to an address.
    fn fill_before(&mut self, end: u128) {
        while self.next < end {
            let at_or_behind = self.services.iter().find(|service| service.span.range().last() >= self.next);
            let (last, service_pool) = match at_or_behind {
                Some(service) if service.span.range().first() <= self.next => {
                    (service.span.range().last(), Some(service.name.clone()))
                }
                Some(service) => (service.span.range().first() - 1, None),
                None => (end - 1, None),
            };
            let last = last.min(end - 1);
            self.parts.push(Part {
                start: self.family.address(self.next),
                end: self.family.address(last),
                state: if service_pool.is_some() { PartState::Reserved } else { PartState::Free },
                service_pool,
                pod: None,
                node: None,
            });
            self.next = last + 1;
        }
    }

    fn put(&mut self, Leased { address, lease, .. }: &Leased, state: PartState) {
        let service = self.services.iter().find(|service| service.span.range().contains(*address));
        let pod = lease.pod.as_ref();
        self.parts.push(Part {
            start: *address,
            end: *address,
            state,
            service_pool: service.map(|service| service.name.clone()),
            pod: pod.map(|pod| PodName { namespace: pod.namespace.clone(), name: pod.name.clone() }),
            node: lease.node.parse().ok(),
        });
        self.next = number(*address) + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::name::PodText;
    use common::store::record::{Claim, Lease};
    use std::net::IpAddr;

    fn text(text: &str) -> PodText {
        PodText::new(text).expect("text")
    }

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn span(start: u8, end: u8) -> Span {
        Span { start: ip(start), end: ip(end) }
    }

    fn leased(last: u8, node: &str, fixed: bool) -> Leased {
        let pod = Claim { namespace: text("a"), name: text("p"), service_pool: None, fixed, changed: 1 };
        Leased { address: ip(last), since: 1, lease: Lease { node: node.to_owned(), pod: Some(pod) } }
    }

    /// The map as `first-last state`, one after the other.
    fn drawn(services: &[(u8, u8)], leases: &[Leased]) -> String {
        let services: Vec<ServiceRange> = services
            .iter()
            .map(|(start, end)| ServiceRange { name: text("s"), span: span(*start, *end) })
            .collect();
        let is_fixed = |leased: &Leased| leased.lease.pod.as_ref().is_some_and(|pod| pod.fixed);
        let state = |leased: &Leased| if is_fixed(leased) { PartState::Fixed } else { PartState::Used };
        let parts = map(&span(5, 24), &services, leases.iter(), state);
        let last = |address: IpAddr| number(address) & 0xff;
        let words =
            parts.iter().map(|part| format!("{}-{} {:?}", last(part.start), last(part.end), part.state));
        words.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn every_address_is_in_one_part() {
        assert_eq!(drawn(&[], &[]), "5-24 Free");
        let leases =
            [leased(5, "n", false), leased(6, "n", true), leased(9, "n", true), leased(24, "n", false)];
        assert_eq!(drawn(&[], &leases), "5-5 Used, 6-6 Fixed, 7-8 Free, 9-9 Fixed, 10-23 Free, 24-24 Used");
        assert_eq!(drawn(&[(20, 24), (5, 9)], &[]), "5-9 Reserved, 10-19 Free, 20-24 Reserved");
        assert_eq!(
            drawn(&[(7, 10), (11, 12)], &[leased(8, "n", false), leased(12, "n", false)]),
            "5-6 Free, 7-7 Reserved, 8-8 Used, 9-10 Reserved, 11-11 Reserved, 12-12 Used, 13-24 Free"
        );
        assert_eq!(drawn(&[], &[leased(4, "n", false), leased(25, "n", false)]), "5-24 Free", "of others");
    }
}

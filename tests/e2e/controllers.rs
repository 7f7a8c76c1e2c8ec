//! Several controllers on one etcd: none of them leads, and what they are asked at the same instant is done once.

use anyhow::{Result, ensure};
use coil_tests::controller::Controller;
use coil_tests::etcd::Etcd;
use coil_tests::load::at_once;
use coil_tests::place::Place;
use serde_json::json;

#[test]
fn of_conflicting_creates_one_succeeds() -> Result<()> {
    let etcd = Etcd::start()?;
    let controllers = [Controller::serve(Place::Here, &etcd)?, Controller::serve(Place::Here, &etcd)?];
    for round in 0..10 {
        // The same name for half of them, and the same addresses for all.
        let replies = at_once(16, |n| {
            let name = if n % 4 < 2 { format!("p{round}") } else { format!("p{round}-{n}") };
            let body = json!({"name": name, "subnets": [format!("10.{round}.0.0/16")]});
            controllers[n % 2].http().post("/v1/pools", &body)
        })?;
        let won = replies.iter().filter(|reply| reply.status == 201).count();
        ensure!(won == 1, "{won} succeeded in round {round}");
        for reply in replies.iter().filter(|reply| reply.status != 201) {
            ensure!(reply.status == 409, "status {}: {}", reply.status, reply.text());
        }
        let lists = controllers.each_ref().map(|one| one.http().get("/v1/pools")?.expect(200)?.json());
        let [first, second] = lists;
        let (first, second) = (first?, second?);
        ensure!(first == second, "{first} {second}");
        ensure!(first["items"].as_array().map(Vec::len) == Some(round + 1), "{first}");
    }
    Ok(())
}

#[test]
fn one_goes_on_when_the_other_is_killed() -> Result<()> {
    let etcd = Etcd::start()?;
    let mut first = Controller::serve(Place::Here, &etcd)?;
    let second = Controller::serve(Place::Here, &etcd)?;
    first.coilctl("pool create a --subnet 10.64.0.0/16")?;
    first.kill()?;
    second.coilctl("pool add-subnet a 10.65.0.0/16")?;
    second.coilctl("pool create b --subnet 10.66.0.0/16")?;
    first.run()?;
    ensure!(first.coilctl("pool list")? == second.coilctl("pool list")?);
    Ok(())
}

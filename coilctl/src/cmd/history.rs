//! `coilctl address history`: by files of nodes, so that neither controller nor node has to run.

use super::address::short;
use crate::exit::Failure;
use crate::output::Output;
use crate::table::{Table, plain};
use clap::Args;
use common::history::{FILE, Line, Replay, Tenure};
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Who held an address, and when.
///
/// coild writes it down on its node, below its data directory. Run this on the node that has the address's block
/// (`coilctl address show`), or on copies of several nodes' directories.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coilctl address history 10.64.0.17\n  coilctl address history 10.64.0.17 --at 14:05\n  coilctl address history 10.64.0.17 --at 2026-03-01T14:05:30+01:00 --dir /srv/nodes/a/history --dir /srv/nodes/b/history"
)]
pub(crate) struct History {
    /// The address
    address: IpAddr,
    /// Only who held it at this time: of the last 24 hours (14:05, or 14:05:30), local (2026-03-01T14:05), or with an offset
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Directory of a node's history
    #[arg(long, value_name = "DIR", default_value = "/var/lib/coil/history")]
    dir: Vec<PathBuf>,
}

impl History {
    pub(crate) fn run(self, output: Output) -> Result<(), Failure> {
        let moment = self.at.as_deref().map(|text| moment(text, &Zoned::now())).transpose();
        let moment = moment.map_err(|error| Failure::Usage(format!("--at: {error}")))?;
        let mut tenures = Vec::new();
        for dir in &self.dir {
            tenures.extend(read(dir, self.address).map_err(|error| {
                Failure::Usage(format!("can't read the history in {}: {error}", dir.display()))
            })?);
        }
        tenures.retain(|tenure| moment.is_none_or(|moment| tenure.covers(moment)));
        tenures.sort_by_key(|tenure| tenure.holder.since);
        output.print(&tenures, |out| write(out, &tenures))
    }
}

/// What the files of a directory tell of an address, from the oldest on.
fn read(dir: &Path, address: IpAddr) -> io::Result<Vec<Tenure>> {
    let mut files = vec![dir.join(FILE)];
    files.extend((1..).map(|number| dir.join(format!("{FILE}.{number}"))).take_while(|file| file.exists()));
    let (mut replay, mut malformed) = (Replay::new(address), 0);
    for file in files.iter().rev() {
        for line in BufReader::new(File::open(file)?).split(b'\n') {
            match serde_json::from_slice::<Line>(&line?) {
                Ok(line) => replay.push(line),
                // A crash may have cut one short.
                Err(_) => malformed += 1,
            }
        }
    }
    if malformed > 0 {
        let _ = writeln!(io::stderr(), "{malformed} lines in {} are malformed, and left out", dir.display());
    }
    Ok(replay.finish())
}

/// The moment that a text names.
fn moment(text: &str, now: &Zoned) -> Result<Timestamp, jiff::Error> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    if let Ok(local) = text.parse::<DateTime>() {
        return Ok(local.to_zoned(now.time_zone().clone())?.timestamp());
    }
    let time: Time = text.parse()?;
    let today = now.date().to_datetime(time).to_zoned(now.time_zone().clone())?;
    let last = if today <= *now { today } else { today.yesterday()?.with().time(time).build()? };
    Ok(last.timestamp())
}

fn write(out: &mut dyn Write, tenures: &[Tenure]) -> io::Result<()> {
    let zone = TimeZone::system();
    let local = |time: Timestamp| time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string();
    let mut table =
        Table::new(&["FROM", "UNTIL", "NODE", "POOL", "NAMESPACE", "POD", "CONTAINER", "INTERFACE"]);
    for Tenure { node, holder, until, .. } in tenures {
        table.row(vec![
            local(holder.since),
            until.map_or_else(|| "now".to_owned(), local),
            node.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            holder.pool.to_string(),
            plain(holder.namespace.as_str()),
            plain(holder.pod.as_str()),
            short(holder.container.as_str()),
            plain(holder.interface.as_str()),
        ]);
    }
    table.write(out, "holder is known")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let now: Zoned = "2026-03-02T13:00:00+01:00[+01:00]".parse().expect("now");
        for (text, expected) in [
            ("12:05", "2026-03-02T11:05:00Z"),
            ("14:05", "2026-03-01T13:05:00Z"),
            ("14:05:30", "2026-03-01T13:05:30Z"),
            ("2026-03-01T14:05", "2026-03-01T13:05:00Z"),
            ("2026-03-01 14:05:30", "2026-03-01T13:05:30Z"),
            ("2026-03-01T14:05:30Z", "2026-03-01T14:05:30Z"),
            ("2026-03-01T14:05:30+02:00", "2026-03-01T12:05:30Z"),
        ] {
            let found = moment(text, &now).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(found.to_string(), expected, "{text}");
        }
        for bad in ["", "25:00", "yesterday", "2026-13-01T00:00"] {
            assert!(moment(bad, &now).is_err(), "{bad}");
        }
    }
}

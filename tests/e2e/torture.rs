//! Every fault of `docs/reliability.md` that is left to chance, with a small budget; `make torture` tells the same
//! stories for longer.

use anyhow::Result;
use coil_tests::faults::tell;

#[test]
fn random_load() -> Result<()> {
    tell("random_load")
}

//! coilctl

fn main() {}

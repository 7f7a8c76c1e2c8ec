//! coild

fn main() {}

//! search
/// x
pub struct Search;
/// y
pub struct Step;

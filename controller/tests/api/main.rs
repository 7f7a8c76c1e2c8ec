//! The admin API over real stores: every route, status and race.

mod addresses;
mod fixture;
mod http;
mod nodes;
mod pools;
mod races;
mod scale;

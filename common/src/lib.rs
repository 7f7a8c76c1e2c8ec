//! What every Coil program shares.
//!
//! * [`name`]: names that are valid once parsed
//! * [`pool_id`]: which pool, of either kind
//! * [`pool_list`]: ordered lists of pools
//! * [`lastbackend`]: names and words of the platform API
//! * [`mac`]: MAC addresses
//! * [`hex`]: bytes as hexadecimal digits
//! * [`history`]: who held which address when (feature `history`)
//! * [`ipam`]: the allocator core, pure
//! * [`store`]: the datastore, its keys and records (feature `store`)
//! * [`wire`]: bodies of the REST APIs
//! * [`config`]: flags, environment and TOML file as one (feature `config`)
//! * [`server`]: HTTP listeners with limits (feature `server`)
//! * [`clock`]: the one reader of the wall clock
//! * [`error`]: how errors are told to people
//! * [`progress`]: how far a command is
//! * [`fault`]: points at which the tests end a process (feature `failpoints`)
//! * [`openapi`]: what descriptions of an API say of texts that have a form (feature `openapi`)
//!
//! Each module uses only what stands before it: `name` → `pool_id` → `ipam` → `store`; `wire` uses
//! the first three.
//! With default features there is no runtime, no store and no socket here, so that the plugin stays small.

pub mod clock;
#[cfg(feature = "config")]
pub mod config;
pub mod error;
pub mod fault;
pub mod hex;
#[cfg(feature = "history")]
pub mod history;
pub mod ipam;
pub mod lastbackend;
pub mod mac;
pub mod name;
#[cfg(feature = "openapi")]
pub mod openapi;
pub mod pool_id;
pub mod pool_list;
pub mod progress;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "store")]
pub mod store;
pub mod wire;

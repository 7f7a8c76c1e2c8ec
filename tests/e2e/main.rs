//! The stories that must hold, told with real processes: one module each.

mod bridge;
mod coilctl;
mod coild_killed;
mod config;
mod containerd;
mod cri;
mod demo;
mod disk_full;
mod etcd_outage;
mod fenced;
mod instance;
mod journal_lost;
mod orphans;
mod plugin_errors;
mod plugin_ipam;
mod plugin_main;
mod podman;
mod reboot;
mod rest;
mod rest_malformed;
mod routes;
mod shutdown;
mod standalone;
mod torture;
mod twenty_coilds;

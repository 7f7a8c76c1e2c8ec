//! The store on etcd when things go wrong.

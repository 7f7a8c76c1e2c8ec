//! The thread that answers: sockets and allocator share it, so that an ADD never waits for a thread to wake up.
//! What talks to the store has another, and goes on while this one waits for the disk.

use crate::allocator::Worker;
use axum::Router;
use common::server::{Bind, BindError, Limits, Listener, serve};
use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task;

/// The thread, which runs until the last handle of the allocator is dropped.
pub struct Answering {
    runtime: Handle,
    thread: JoinHandle<()>,
}

impl Answering {
    /// Starts the thread, which does the allocator's jobs from now on.
    pub fn start(worker: Worker) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        // A task of its own: waking the runtime's root costs a system call.
        let work = runtime.spawn(worker.run());
        let run = move || {
            let _ = runtime.block_on(work);
        };
        let thread = std::thread::Builder::new().name("answering".to_owned()).spawn(run)?;
        Ok(Self { runtime: handle, thread })
    }

    /// Opens sockets and serves on them.
    pub async fn serve(&self, binds: Vec<Bind>, router: Router) -> Result<Serving, BindError> {
        let listeners = self.runtime.spawn(async move {
            let mut listeners = Vec::new();
            for bind in binds {
                listeners.push(Listener::bind(&bind).await?);
            }
            Ok::<_, BindError>(listeners)
        });
        let ended =
            |error: task::JoinError| BindError::Io { bind: "the sockets".to_owned(), source: error.into() };
        let listeners = listeners.await.map_err(ended)??;
        let tcp = listeners.iter().find_map(Listener::tcp_address);
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            // A sender that is gone wants nobody served any more.
            let _ = stopped.await;
        };
        let task = self.runtime.spawn(serve(listeners, router, Limits::default(), stopped));
        Ok(Serving { tcp, stop, task })
    }

    /// Waits for the thread to end.
    pub async fn end(self) {
        let _ = task::spawn_blocking(move || self.thread.join()).await;
    }
}

/// Sockets that are served.
pub struct Serving {
    /// The TCP address among them.
    pub tcp: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    task: task::JoinHandle<()>,
}

impl Serving {
    /// Finishes the requests in progress and closes the sockets.
    pub async fn end(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

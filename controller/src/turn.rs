//! That one controller of several does what goes on in the background: a key with a time to live, which its holder renews.
//! It only spares the others the work: what two of them do at the same time does no harm.

use common::store::record::melange::Mark;
use common::store::{Compare, Op, Store, StoreError, TtlId, Txn, record};
use std::time::Duration;
use tokio::time::Instant;

/// How long a controller counts as there after it was last heard of.
const TTL: Duration = Duration::from_secs(6);
/// How often it makes itself heard.
const RENEWAL: Duration = Duration::from_secs(2);

/// The turn, held.
pub(crate) struct Turn<'a> {
    store: &'a dyn Store,
    ttl: TtlId,
}

impl<'a> Turn<'a> {
    /// Takes the turn that a key stands for; nothing if another controller has it.
    pub(crate) async fn take(store: &'a dyn Store, key: &str) -> Result<Option<Self>, StoreError> {
        if store.get(key).await?.is_some() {
            return Ok(None);
        }
        let ttl = store.grant_ttl(TTL).await?;
        let mark = Op::PutWithTtl(key.to_owned(), record::encode(&Mark {}), ttl);
        match store.txn(Txn::new().when(Compare::Absent(key.to_owned())).then(mark)).await {
            Ok(_) => Ok(Some(Self { store, ttl })),
            Err(error) => {
                // It ends by itself, too.
                let _ = store.revoke_ttl(ttl).await;
                if matches!(error, StoreError::Conflict) { Ok(None) } else { Err(error) }
            }
        }
    }

    /// Renews the turn until it is lost.
    pub(crate) async fn renewed(&self) -> StoreError {
        let mut heard = Instant::now();
        loop {
            tokio::time::sleep(RENEWAL).await;
            let asked = Instant::now();
            match self.store.renew_ttl(self.ttl).await {
                Ok(()) => heard = asked,
                Err(error) if error.is_unavailable() && heard.elapsed() < TTL => {}
                Err(error) => return error,
            }
        }
    }

    /// Gives the turn up.
    pub(crate) async fn release(self) {
        // It ends by itself, too.
        let _ = self.store.revoke_ttl(self.ttl).await;
    }
}

//! That one controller follows the pods: a key with a time to live, which its holder renews. It only spares the others
//! the work: what is written compares all that it depends on.

use common::store::keys::melange as keys;
use common::store::record::melange::Mark;
use common::store::{Compare, Op, Store, StoreError, TtlId, Txn, record};
use std::time::Duration;
use tokio::time::Instant;

/// How long a controller counts as there after it was last heard of.
const TTL: Duration = Duration::from_secs(6);
/// How often it makes itself heard.
const RENEWAL: Duration = Duration::from_secs(2);

/// The turn, held.
pub(super) struct Turn<'a> {
    store: &'a dyn Store,
    ttl: TtlId,
}

impl<'a> Turn<'a> {
    /// Takes the turn; nothing if another controller has it.
    pub(super) async fn take(store: &'a dyn Store) -> Result<Option<Self>, StoreError> {
        if store.get(keys::PODS).await?.is_some() {
            return Ok(None);
        }
        let ttl = store.grant_ttl(TTL).await?;
        let mark = Op::PutWithTtl(keys::PODS.to_owned(), record::encode(&Mark {}), ttl);
        match store.txn(Txn::new().when(Compare::Absent(keys::PODS.to_owned())).then(mark)).await {
            Ok(_) => Ok(Some(Self { store, ttl })),
            Err(error) => {
                // It ends by itself, too.
                let _ = store.revoke_ttl(ttl).await;
                if matches!(error, StoreError::Conflict) { Ok(None) } else { Err(error) }
            }
        }
    }

    /// Renews the turn until it is lost.
    pub(super) async fn renewed(&self) -> StoreError {
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
    pub(super) async fn release(self) {
        // It ends by itself, too.
        let _ = self.store.revoke_ttl(self.ttl).await;
    }
}

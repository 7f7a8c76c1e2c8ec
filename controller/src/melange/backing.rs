//! Blocks that back a pool: pods have their addresses, and nobody else is given any.
//!
//! The block's record names the pool, from the transaction that makes the pool to the one that deletes it. Whoever gives
//! an address of the block compares its record, and both of these transactions need that it has none: so there is no
//! instant at which pods and tenants could be given the same one.

use super::read::StoredBlock;
use super::rules::forbidden_by;
use super::{Kind, MelangeError, pods};
use common::ipam::{Forbidden, TenantBlock};
use common::name::PoolName;
use common::store::keys::melange as keys;
use common::store::melange::unchanged;
use common::store::record::melange::Block;
use common::store::{Compare, Op, Revision, Store, Txn, record};
use ipnet::IpNet;
use uuid::Uuid;

/// Why a block can't back a pool.
#[derive(Debug, thiserror::Error)]
pub enum BackingError {
    /// There is no such block.
    #[error("there is no block {0}; `coilctl melange block list {tenant}` shows those of the tenant", tenant = .0.tenant)]
    Unknown(TenantBlock),
    /// Its addresses are its subnets'.
    #[error("block {0} has subnets; one of them may back a pool")]
    HasSubnets(TenantBlock),
    /// Somebody has addresses of it.
    #[error("block {0} has addresses that are allocated, or deallocated and not yet given again")]
    HasAddresses(TenantBlock),
    /// It backs another pool.
    #[error("block {block} backs pool {pool} already")]
    Backs {
        /// The block.
        block: TenantBlock,
        /// The pool.
        pool: PoolName,
    },
    /// A pool can't exclude that much.
    #[error(
        "what is not given of block {block}, by its policy and with `exclude`, is more than {most} networks; a subnet of \
         it, or a policy that forbids less, may do"
    )]
    TooMuchForbidden {
        /// The block.
        block: TenantBlock,
        /// How many are allowed.
        most: usize,
    },
    /// It can't be read.
    #[error(transparent)]
    Case(#[from] MelangeError),
}

/// A block that can back a pool, as it was read.
pub(crate) struct Backing {
    stored: StoredBlock,
    forbidden: Forbidden,
    /// The policy's revision.
    policy: Revision,
}

impl Backing {
    /// The addresses.
    pub(crate) fn cidr(&self) -> IpNet {
        self.stored.block.cidr
    }

    /// What of them is not given, as networks; `None` if there are more than `most`.
    pub(crate) fn exclusions(&self, most: usize) -> Option<Vec<IpNet>> {
        self.forbidden.exclusions(self.cidr(), self.stored.block.gateway, most)
    }

    /// Whether this is the block, or one that it is a subnet of.
    pub(crate) fn lies_in(&self, block: Uuid) -> bool {
        self.stored.id == block || self.stored.block.ancestors.iter().any(|ancestor| ancestor.id == block)
    }

    /// Adds to a transaction that the block backs a pool. It must be as it was read, and nobody have an address of it.
    pub(crate) fn back(&self, txn: Txn, pool: &PoolName) -> Txn {
        let block = Block { pool: Some(pool.clone()), ..self.stored.block.clone() };
        let txn = self.stored.guard(txn, self.policy).when(Compare::Empty(keys::addresses(self.stored.id)));
        txn.then(Op::Put(self.stored.key(), record::encode(&block)))
    }
}

/// A block that is to back a pool.
pub(crate) async fn read(store: &dyn Store, of: &TenantBlock) -> Result<Backing, BackingError> {
    let stored = match block(store, of).await {
        Err(MelangeError::NotFound(_)) => return Err(BackingError::Unknown(of.clone())),
        found => found?,
    };
    if stored.block.subnets > 0 {
        return Err(BackingError::HasSubnets(of.clone()));
    }
    if let Some(pool) = stored.block.pool {
        return Err(BackingError::Backs { block: of.clone(), pool });
    }
    let addresses = store.list_keys(&keys::addresses(stored.id), 1).await.map_err(MelangeError::from)?;
    if !addresses.items.is_empty() {
        return Err(BackingError::HasAddresses(of.clone()));
    }
    let (forbidden, policy) = forbidden_by(store, stored.block.policy.as_ref()).await?;
    Ok(Backing { stored, forbidden, policy })
}

/// Adds to a transaction that a block does not back its pool any more. What pods had of it is removed before, and the
/// transaction needs that nothing has come again.
pub(crate) async fn stop(
    store: &dyn Store,
    txn: Txn,
    of: &TenantBlock,
    pool: &PoolName,
) -> Result<Txn, MelangeError> {
    let stored = match block(store, of).await {
        Ok(stored) if stored.block.pool.as_ref() == Some(pool) => stored,
        // Somebody was faster, and has deleted the pool.
        Ok(_) | Err(MelangeError::NotFound(_)) => return Ok(txn),
        Err(error) => return Err(error),
    };
    pods::forget(store, stored.id).await?;
    let free = Block { pool: None, ..stored.block.clone() };
    Ok(unchanged(txn, stored.key(), stored.revision)
        .when(Compare::Empty(keys::addresses(stored.id)))
        .then(Op::Put(stored.key(), record::encode(&free))))
}

async fn block(store: &dyn Store, of: &TenantBlock) -> Result<StoredBlock, MelangeError> {
    let id = of.block.as_str().parse().map_err(|_| MelangeError::NotFound(Kind::Block))?;
    StoredBlock::read(store, &of.tenant, id).await
}

//! Talking to other members. A cluster of one has none: every call says so, and
//! openraft makes none, because its own vote is a majority.

use std::future::Future;

use openraft::OptionalSend;
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};

use super::Types;
use super::member::{Member, Peer};
use super::snapshot::SnapshotFile;

/// Makes connections to members.
pub struct Transport;

/// A connection to one member.
pub struct Connection(Member);

impl RaftNetworkFactory<Types> for Transport {
    type Network = Connection;

    async fn new_client(&mut self, target: Member, _peer: &Peer) -> Connection {
        Connection(target)
    }
}

/// There is no way to that member.
#[derive(Debug, thiserror::Error)]
#[error("no way to the member {0} is known")]
struct NoWay(Member);

impl Connection {
    fn unreachable(&self) -> Unreachable<Types> {
        Unreachable::new(&NoWay(self.0))
    }
}

impl RaftNetworkV2<Types> for Connection {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    async fn pre_vote(
        &mut self,
        _request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    async fn full_snapshot(
        &mut self,
        _vote: VoteOf<Types>,
        _snapshot: SnapshotOf<Types, SnapshotFile>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(StreamingError::Unreachable(self.unreachable()))
    }
}

//! InitProducerId: identities for idempotent producers.

use crate::broker::Broker;
use crate::reply::Reply;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};
use streamhouse_metadata::{MetadataError, ProducerIdentity};

pub(crate) async fn handle(broker: &Broker, request: &InitProducerIdRequest) -> Reply {
    if request.transactional_id.is_some() {
        // Fatal in every client, which is what transactions are here.
        return refused(Code::TransactionalIdAuthorizationFailed);
    }
    let known = (request.producer_id.0 >= 0)
        .then_some(ProducerIdentity { id: request.producer_id.0, epoch: request.producer_epoch });
    match broker.metadata.init_producer(known).await {
        Ok(identity) => Reply::new(
            InitProducerIdResponse::default()
                .with_producer_id(ProducerId(identity.id))
                .with_producer_epoch(identity.epoch),
            false,
        ),
        Err(MetadataError::Fenced { .. }) => refused(Code::InvalidProducerEpoch),
        Err(MetadataError::NotFound(_)) => refused(Code::UnknownProducerId),
        Err(error) => {
            // Retried by every client: no line for each while the store is away.
            tracing::debug!(%error, "a producer id could not be given");
            refused(Code::CoordinatorNotAvailable)
        }
    }
}

fn refused(code: Code) -> Reply {
    let response = InitProducerIdResponse::default()
        .with_error_code(code.code())
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    Reply::new(response, true)
}

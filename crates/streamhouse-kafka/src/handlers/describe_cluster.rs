//! DescribeCluster: the live agents.

use super::text;
use crate::broker::Broker;
use crate::error::of_metadata;
use crate::reply::Reply;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};

/// The endpoint type of brokers; 2 would be controllers, which there are none of.
const BROKERS: i8 = 1;

pub(crate) async fn handle(broker: &Broker, request: &DescribeClusterRequest) -> Reply {
    if request.endpoint_type != BROKERS {
        let response = DescribeClusterResponse::default()
            .with_error_code(Code::UnsupportedEndpointType.code())
            .with_endpoint_type(request.endpoint_type)
            .with_error_message(Some(text("there are brokers only")));
        return Reply::new(response, true);
    }
    let cluster = match broker.cluster_id().await {
        Ok(id) => id,
        Err(error) => {
            let response = DescribeClusterResponse::default()
                .with_error_code(of_metadata(&error).code())
                .with_error_message(Some(text(error.to_string())));
            return Reply::new(response, true);
        }
    };
    let agents = broker.live();
    let brokers = agents.iter().map(|agent| {
        DescribeClusterBroker::default()
            .with_broker_id(BrokerId(agent.id))
            .with_host(text(agent.host.as_str()))
            .with_port(i32::from(agent.port))
    });
    let response = DescribeClusterResponse::default()
        .with_cluster_id(text(cluster.to_string()))
        .with_controller_id(BrokerId(agents.first().map_or(-1, |agent| agent.id)))
        .with_brokers(brokers.collect());
    Reply::new(response, false)
}

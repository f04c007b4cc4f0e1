//! Strategies by which librdkafka's consumers share partitions out, beside the default one.

use crate::consumers::{GROUP, PARTITIONS, Seen, TOPIC, config, producer, send};
use crate::group_wire::group;
use crate::server::{PATIENCE, Server, eventually};
use kafka_protocol::messages::DescribeGroupsRequest;
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::message::Message as _;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Who has which partition, as the members are told, and what went wrong with that.
#[derive(Default)]
struct Owners {
    by_partition: Mutex<BTreeMap<i32, usize>>,
    /// How many partitions each member had to give up.
    revoked: Mutex<BTreeMap<usize, usize>>,
    doubles: Mutex<Vec<String>>,
}

impl Owners {
    fn take(&self, member: usize, partition: i32) {
        if let Some(other) = self.by_partition.lock().unwrap().insert(partition, member) {
            let double = format!("partition {partition} of {other} is given to {member}");
            self.doubles.lock().unwrap().push(double);
        }
    }

    fn give_up(&self, member: usize, partition: i32) {
        if self.by_partition.lock().unwrap().remove(&partition) != Some(member) {
            let stray = format!("{member} gives up partition {partition}, which it has not");
            self.doubles.lock().unwrap().push(stray);
        }
        *self.revoked.lock().unwrap().entry(member).or_default() += 1;
    }

    fn revoked(&self, member: usize) -> usize {
        self.revoked.lock().unwrap().get(&member).copied().unwrap_or(0)
    }

    /// Waits until these members have all partitions, each the same number of them.
    async fn shared(&self, members: &[usize]) {
        let share = PARTITIONS as usize / members.len();
        eventually("an even share", || {
            let owners = self.by_partition.lock().unwrap();
            let has = |member| owners.values().filter(|owner| *owner == member).count();
            members.iter().all(|member| has(member) == share).then_some(())
        })
        .await;
    }
}

struct Telling {
    member: usize,
    owners: Arc<Owners>,
}

impl ClientContext for Telling {}

impl ConsumerContext for Telling {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let partitions = |list: &TopicPartitionList| {
            list.elements().iter().map(|one| one.partition()).collect::<Vec<_>>()
        };
        match rebalance {
            Rebalance::Assign(list) => {
                partitions(list).into_iter().for_each(|at| self.owners.take(self.member, at));
            }
            Rebalance::Revoke(list) => {
                // There may be nothing to commit.
                let _ = consumer.commit_consumer_state(CommitMode::Sync);
                partitions(list).into_iter().for_each(|at| self.owners.give_up(self.member, at));
            }
            Rebalance::Error(_) => {}
        }
    }
}

/// A consumer in a thread of its own, until it leaves.
struct Member {
    leaving: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// A group whose members use one strategy.
struct Party {
    server: Server,
    strategy: &'static str,
    seen: Arc<Seen>,
    owners: Arc<Owners>,
    sent: usize,
}

impl Party {
    async fn of(strategy: &'static str) -> Self {
        let server = Server::with(config()).await;
        server.wire().await.topic(TOPIC).await;
        Self { server, strategy, seen: Arc::default(), owners: Arc::default(), sent: 0 }
    }

    fn join(&self, member: usize) -> Member {
        let context = Telling { member, owners: self.owners.clone() };
        let consumer: BaseConsumer<Telling> = ClientConfig::new()
            .set("bootstrap.servers", self.server.bootstrap())
            .set("broker.address.family", "v4")
            .set("group.id", GROUP)
            .set("partition.assignment.strategy", self.strategy)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", "30000")
            .set("heartbeat.interval.ms", "100")
            .create_with_context(context)
            .unwrap();
        consumer.subscribe(&[TOPIC]).unwrap();
        let leaving = Arc::new(AtomicBool::new(false));
        let (seen, told) = (self.seen.clone(), leaving.clone());
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::SeqCst) {
                if let Some(Ok(message)) = consumer.poll(Duration::from_millis(20)) {
                    seen.note(message.partition(), message.offset());
                }
            }
        });
        Member { leaving, thread }
    }

    async fn leave(&self, member: Member) {
        member.leaving.store(true, Ordering::SeqCst);
        let left = tokio::task::spawn_blocking(move || member.thread.join().unwrap());
        tokio::time::timeout(PATIENCE, left).await.unwrap().unwrap();
    }

    /// Sends records, and waits until the members have all that were ever sent.
    async fn deliver(&mut self) {
        send(&producer(&self.server.bootstrap()), 120).await;
        self.sent += 120;
        eventually("all records", || (self.seen.count() == self.sent).then_some(())).await;
    }

    /// The strategy that the coordinator has chosen.
    async fn chosen(&self) -> String {
        let request = DescribeGroupsRequest::default().with_groups(vec![group(GROUP)]);
        let answer = self.server.wire().await.ask(&request, 4).await;
        answer.groups[0].protocol_data.to_string()
    }
}

/// Three members join one after the other and leave one after the other. Tells how many partitions
/// the first one had to give up to the second one.
async fn come_and_go(strategy: &'static str) -> usize {
    let mut party = Party::of(strategy).await;
    let first = party.join(1);
    party.owners.shared(&[1]).await;
    party.deliver().await;
    assert_eq!(party.chosen().await, strategy);
    let second = party.join(2);
    party.owners.shared(&[1, 2]).await;
    let given_up = party.owners.revoked(1);
    party.deliver().await;
    let third = party.join(3);
    party.owners.shared(&[1, 2, 3]).await;
    party.deliver().await;
    party.leave(first).await;
    party.owners.shared(&[2, 3]).await;
    party.deliver().await;
    party.leave(third).await;
    party.owners.shared(&[2]).await;
    party.deliver().await;
    party.leave(second).await;
    party.server.gauge_of("streamhouse.group.members", &[("group", GROUP)], 0.0).await;
    assert_eq!(party.owners.by_partition.lock().unwrap().len(), 0, "nobody is left");
    assert_eq!(*party.owners.doubles.lock().unwrap(), [""; 0]);
    given_up
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cooperative_members_keep_what_they_do_not_give_up_and_each_partition_has_one_owner() {
    assert_eq!(come_and_go("cooperative-sticky").await, PARTITIONS as usize / 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_share_out_round_robin_get_all_records_and_each_partition_has_one_owner() {
    assert_eq!(come_and_go("roundrobin").await, PARTITIONS as usize);
}

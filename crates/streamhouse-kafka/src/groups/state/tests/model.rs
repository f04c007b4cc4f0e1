//! Whatever members do, the group keeps its promises.

use super::*;

/// What a simulated client does next.
#[derive(Clone, Copy, Debug)]
enum Move {
    /// Joins, as a new member or with the id it has; a wish of its own or a retry.
    Join,
    Sync,
    Heartbeat,
    Leave,
    /// Forgets what it was, without a word.
    Forget,
    /// Offers something else from now on.
    Change,
    Store,
    /// Time passes, in tenths of a session.
    Wait(u32),
}

fn moves() -> impl Strategy<Value = (usize, Move)> {
    let one = prop_oneof![
        6 => Just(Move::Join),
        6 => Just(Move::Sync),
        3 => Just(Move::Heartbeat),
        1 => Just(Move::Leave),
        1 => Just(Move::Forget),
        1 => Just(Move::Change),
        6 => Just(Move::Store),
        2 => (1..40u32).prop_map(Move::Wait),
    ];
    (0..5usize, one)
}

/// A client as the model knows it.
#[derive(Default)]
struct Client {
    joining: Option<Ticket>,
    syncing: Option<Ticket>,
    joined: Option<Joined>,
    id: Arc<str>,
    changed: bool,
}

/// Everybody and what they were told.
struct Model {
    world: World,
    clients: Vec<Client>,
    /// The leader's parts of each generation.
    shared: HashMap<i32, HashMap<Arc<str>, String>>,
    leaders: HashMap<i32, Arc<str>>,
}

impl Model {
    fn play(&mut self, who: usize, what: Move) {
        let is_static = who == 0;
        match what {
            Move::Join => {
                let (id, changed) = (self.clients[who].id.clone(), self.clients[who].changed);
                let ticket = self.world.send_join(|join| {
                    join.member = id;
                    join.instance = is_static.then(|| "one".into());
                    join.invites = who % 2 == 1;
                    if changed {
                        join.protocols = protocols(&["sticky", "range"]);
                    }
                });
                self.clients[who].joining = Some(ticket);
            }
            Move::Sync => {
                let Some(joined) = self.clients[who].joined.take() else { return };
                let parts: Vec<_> = joined
                    .members
                    .iter()
                    .map(|it| (it.id.clone(), format!("{}@{}", it.id, joined.generation)))
                    .collect();
                if !parts.is_empty() {
                    let shared = parts.iter().cloned().collect();
                    self.shared.insert(joined.generation, shared);
                }
                let parts: Vec<_> = parts.iter().map(|(id, part)| (&**id, part.as_str())).collect();
                let ticket = self.world.send_sync(&joined, &parts);
                self.clients[who].joined = Some(joined);
                self.clients[who].syncing = Some(ticket);
            }
            Move::Heartbeat => {
                if let Some(joined) = self.clients[who].joined.take() {
                    self.world.heartbeat(&joined);
                    self.clients[who].joined = Some(joined);
                }
            }
            Move::Leave => {
                let id = std::mem::take(&mut self.clients[who].id);
                self.world.leave(&id, is_static.then_some("one"));
                self.clients[who] = Client::default();
            }
            Move::Forget => self.clients[who] = Client::default(),
            Move::Change => self.clients[who].changed ^= true,
            Move::Store => self.world.store(),
            Move::Wait(tenths) => self.world.advance(SESSION / 10 * tenths),
        }
        self.read();
        self.check();
    }

    /// Clients read their answers.
    fn read(&mut self) {
        for client in &mut self.clients {
            if let Some(Answer::Joined(answer)) =
                client.joining.and_then(|it| self.world.answers.remove(&it))
            {
                client.joining = None;
                match answer {
                    Ok(joined) => {
                        let leader = self
                            .leaders
                            .entry(joined.generation)
                            .or_insert_with(|| joined.leader.clone());
                        if joined.members.len() > 1 {
                            assert_eq!(*leader, joined.leader, "one leader in a generation");
                        }
                        client.id = joined.member.clone();
                        client.joined = Some(joined);
                    }
                    Err((Code::MemberIdRequired, id)) => client.id = id,
                    Err((Code::RebalanceInProgress, _)) => {}
                    Err(_) => *client = Client { changed: client.changed, ..Client::default() },
                }
            }
            if let Some(Answer::Synced(Ok(synced))) =
                client.syncing.and_then(|it| self.world.answers.remove(&it))
            {
                let generation = client.joined.as_ref().map_or(0, |joined| joined.generation);
                let part = String::from_utf8(synced.assignment.to_vec()).unwrap();
                assert!(part.is_empty() || part.ends_with(&format!("@{generation}")));
            }
        }
    }

    fn check(&self) {
        let group = &self.world.group;
        let members: Vec<_> = group.members().collect();
        let joining = members.iter().filter(|(_, one)| one.joining.is_some()).count();
        let syncing = members.iter().filter(|(_, one)| one.syncing.is_some()).count();
        assert_eq!(self.world.open.len(), joining + syncing, "no ticket is forgotten");
        assert_eq!(group.members.joining(), joining);
        assert_eq!(members.is_empty(), group.state() == GroupState::Empty);
        let weight = |member: &Member| members::weight(&member.protocols) + member.assignment.len();
        let bytes: usize = members.iter().map(|(_, one)| weight(one)).sum();
        assert_eq!(group.members.bytes(), bytes);
        for (_, member) in &members {
            if member.joining.is_none() && member.syncing.is_none() {
                assert!(group.wake().is_some_and(|wake| wake <= member.deadline));
            }
        }
        if group.state() == GroupState::PreparingRebalance && group.storing.is_none() {
            assert!(group.join_deadline.is_some(), "a rebalance ends in time");
        }
        if group.state() == GroupState::Stable {
            assert!(members.iter().all(|(_, one)| one.joining.is_none() && one.syncing.is_none()));
        }
    }

    /// Everybody behaves: the group must come to rest.
    fn settle(&mut self) {
        self.world.held = false;
        self.world.store();
        self.world.store();
        for _ in 0..40 {
            for who in 0..self.clients.len() {
                let heartbeat = match self.clients[who].joined.take() {
                    Some(joined) => {
                        let code = self.world.heartbeat(&joined);
                        self.clients[who].joined = Some(joined);
                        code.is_none()
                    }
                    None => false,
                };
                if heartbeat && self.clients[who].syncing.is_none() {
                    self.play(who, Move::Sync);
                } else if !heartbeat && self.clients[who].joining.is_none() {
                    self.clients[who].syncing = None;
                    self.play(who, Move::Join);
                }
            }
            self.play(0, Move::Wait(3));
        }
        let group = &self.world.group;
        assert_eq!(group.state(), GroupState::Stable, "{group:?}");
        let ids: BTreeSet<_> = self.clients.iter().map(|client| client.id.clone()).collect();
        assert_eq!(group.members().map(|(id, _)| id.clone()).collect::<BTreeSet<_>>(), ids);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_members_do_the_group_keeps_its_promises_and_comes_to_rest(
        moves in proptest::collection::vec(moves(), 0..120),
    ) {
        let clients = (0..5).map(|_| Client::default()).collect();
        let (shared, leaders) = (HashMap::new(), HashMap::new());
        let mut model = Model { world: World::new(), clients, shared, leaders };
        model.world.held = true;
        for (who, what) in moves {
            model.play(who, what);
        }
        model.settle();
    }
}

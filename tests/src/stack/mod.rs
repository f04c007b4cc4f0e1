//! The observability stack on loopback: real servers, started with the command lines and the
//! configuration files of `docker-compose.yml`. Only hosts, ports and folders are replaced, all
//! by [`Places::localise`], so what is tested is what is mounted.
//!
//! Build the servers with [`Binaries::build`], start them with [`Stack::start`], start StreamHouse
//! with [`Stack::streamhouse`], and ask [`query`]. All end when the stack is dropped.

mod binaries; // what is built
mod places; //   where everything is
mod plan; //     how a service is started
mod daemon; //   a server as a process
mod sink; //     a webhook
mod flaky; //    an object store that refuses on demand
mod pace; //     a quicker clock for the alerts
mod left; //     processes that outlive who started them
pub mod query; // what the stores are asked

pub use binaries::Binaries;
pub use daemon::{Daemon, Usage, usage};
pub use flaky::Flaky;
pub use left::Left;
pub use pace::PACE;
pub use places::{Places, free_port};
pub use plan::{Plan, prepare};
pub use sink::Sink;

use crate::compose::{Compose, yaml};
use crate::process::Launch;
use query::{Alertmanager, Jaeger, Prometheus, VictoriaLogs};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a server may take to be ready, and an answer to appear, before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A server of the stack: service, binary, and the port and path that say that it is ready.
struct Server(&'static str, &'static str, u16, &'static str);

/// In the order of their start: stores before those that send to them.
const SERVERS: [Server; 6] = [
    Server("s3", "versitygw", 7070, "/health"),
    Server("jaeger", "jaeger", 13133, "/status"),
    Server("victorialogs", "victoria-logs", 9428, "/health"),
    Server("alertmanager", "alertmanager", 9093, "/-/ready"),
    Server("prometheus", "prometheus", 9090, "/-/ready"),
    Server("collector", "otelcol", 13133, "/"),
];

/// The running stack.
#[derive(Debug)]
pub struct Stack {
    compose: Compose,
    places: Places,
    given: BTreeMap<&'static str, String>,
    folder: PathBuf,
    daemons: Vec<Daemon>,
    /// What only a test has.
    tested: Option<Tested>,
}

/// What a stack under test has beyond that of a person.
#[derive(Debug)]
struct Tested {
    /// Where every receiver of the Alertmanager sends to as well.
    sink: Sink,
    /// What StreamHouse takes for the object store.
    store: Flaky,
}

impl Stack {
    /// The binaries of its servers.
    pub fn binaries() -> impl Iterator<Item = &'static str> {
        SERVERS.iter().map(|Server(_, binary, ..)| *binary)
    }

    /// Starts every server on free ports, with what they write below `folder`, for a test: a
    /// webhook to which every receiver of the Alertmanager sends as well, an object store that
    /// refuses on demand, and alerts whose intervals, windows and waits are [`PACE`] times shorter.
    ///
    /// # Errors
    /// A server that is not built or does not become ready.
    pub fn start(binaries: &Binaries, folder: &Path) -> Result<Self, String> {
        Self::start_at(binaries, folder, true, &mut |_| Ok(()))
    }

    /// As [`start`](Self::start), for a person: no webhook, and ports keep their usual numbers
    /// where these are free. `started` is told of each process before it is waited for.
    ///
    /// # Errors
    /// As [`start`](Self::start), and those of `started`.
    pub fn start_usual(
        binaries: &Binaries,
        folder: &Path,
        started: &mut dyn FnMut(&Daemon) -> Result<(), String>,
    ) -> Result<Self, String> {
        Self::start_at(binaries, folder, false, started)
    }

    fn start_at(
        binaries: &Binaries,
        folder: &Path,
        is_test: bool,
        started: &mut dyn FnMut(&Daemon) -> Result<(), String>,
    ) -> Result<Self, String> {
        let compose = Compose::shipped()?;
        let places = Places::find(&compose, folder, !is_test)?;
        let given = BTreeMap::from([
            ("S3_ACCESS_KEY", random()),
            ("S3_SECRET_KEY", random()),
            ("admin-token", random()),
        ]);
        let tested = is_test.then(|| Tested::listen(&places)).transpose()?;
        let folder = folder.to_path_buf();
        let mut stack = Self { compose, places, given, folder, daemons: Vec::new(), tested };
        for Server(service, binary, port, path) in &SERVERS {
            let mut plan = prepare(&stack.compose, &stack.places, service, &stack.given)?;
            stack.adapt(service, &mut plan)?;
            stack.add(service, binaries.get(binary)?, plan, (*port, path), started)?;
        }
        Ok(stack)
    }

    /// What loopback needs beyond the compose file.
    fn adapt(&self, service: &str, plan: &mut Plan) -> Result<(), String> {
        match service {
            "s3" => {
                self.make_bucket()?;
                let log = self.access_log().display().to_string();
                plan.args.splice(0..0, ["--access-log".to_owned(), log]);
                Ok(())
            }
            "alertmanager" => {
                let path = self.places.path("alertmanager", "/etc/alertmanager/alertmanager.yml");
                self.quicken(&path)?;
                self.add_sink(&path)
            }
            "prometheus" => self.quicken(&self.places.path("prometheus", "/etc/prometheus")),
            _ => Ok(()),
        }
    }

    /// Gives a test's copy of a configuration, or of all in a folder, the quicker clock.
    fn quicken(&self, path: &Path) -> Result<(), String> {
        if self.tested.is_none() {
            return Ok(());
        }
        let told = |error: std::io::Error| format!("{}: {error}", path.display());
        if path.is_dir() {
            let mut entries = std::fs::read_dir(path).map_err(told)?.flatten();
            return entries.try_for_each(|entry| self.quicken(&entry.path()));
        }
        let text = std::fs::read_to_string(path).map_err(told)?;
        std::fs::write(path, pace::quicken(&text)).map_err(told)
    }

    fn add(
        &mut self,
        service: &'static str,
        binary: &Path,
        plan: Plan,
        (port, path): (u16, &'static str),
        started: &mut dyn FnMut(&Daemon) -> Result<(), String>,
    ) -> Result<(), String> {
        let ready = (self.places.of(service, port), path);
        let mut daemon = Daemon::new(service, binary, plan, &self.folder.join(service), ready);
        daemon.spawn()?;
        started(&daemon)?;
        daemon.wait()?;
        self.daemons.push(daemon);
        Ok(())
    }

    /// The bucket, as the service `init` makes it.
    fn make_bucket(&self) -> Result<(), String> {
        let folder = self.places.path("s3", "/data/streamhouse");
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))
    }

    /// Lets every receiver send to the webhook, too; what is configured stays as it is.
    fn add_sink(&self, path: &Path) -> Result<(), String> {
        let Some(sink) = self.sink() else { return Ok(()) };
        let told = |error: std::io::Error| format!("{}: {error}", path.display());
        let mut config = yaml(&std::fs::read_to_string(path).map_err(told)?)?;
        for receiver in config["receivers"].as_array_mut().into_iter().flatten() {
            let hook = json!({"url": sink.url(), "send_resolved": true});
            match receiver["webhook_configs"].as_array_mut() {
                Some(hooks) => hooks.push(hook),
                None => receiver["webhook_configs"] = json!([hook]),
            }
        }
        // JSON is YAML.
        std::fs::write(path, config.to_string()).map_err(told)
    }

    /// How to start `binary` as the stack's StreamHouse: with the compose file's variables, at
    /// the addresses that the other servers know.
    ///
    /// # Errors
    /// A variable that is not there.
    pub fn streamhouse(&self, binary: &str) -> Result<Launch, String> {
        let mut launch = Launch::serve(binary, &self.folder.join("streamhouse/data"))
            .kafka(self.places.of("streamhouse", 9092))
            .admin(self.places.of("streamhouse", 9464));
        for (key, value) in self.variables()? {
            launch = launch.env(&key, &value);
        }
        Ok(launch)
    }

    /// Starts `binary` as [`streamhouse`](Self::streamhouse) says, as one more server of the
    /// stack.
    ///
    /// # Errors
    /// A server that does not become ready, and those of `started`.
    pub fn add_streamhouse(
        &mut self,
        binary: &Path,
        started: &mut dyn FnMut(&Daemon) -> Result<(), String>,
    ) -> Result<(), String> {
        let data = self.folder.join("streamhouse/data").display().to_string();
        let args = ["serve", "--data-dir", &data].map(str::to_owned).to_vec();
        let plan = Plan { args, env: self.variables()? };
        self.add("streamhouse", binary, plan, (9464, "/health/ready"), started)
    }

    /// The variables of StreamHouse; its token itself instead of a file, which only the image's
    /// entrypoint reads.
    fn variables(&self) -> Result<BTreeMap<String, String>, String> {
        let mut env = prepare(&self.compose, &self.places, "streamhouse", &self.given)?.env;
        env.retain(|key, _| !key.ends_with("_FILE"));
        env.insert("STREAMHOUSE_ADMIN_TOKEN".into(), self.given["admin-token"].clone());
        env.insert("STREAMHOUSE_LOG_FORMAT".into(), "json".into());
        if let Some(tested) = &self.tested {
            let key = "STREAMHOUSE_S3_ENDPOINT";
            env.insert(key.into(), format!("http://{}", tested.store.addr()));
            let key = "OTEL_METRIC_EXPORT_INTERVAL";
            let interval = env.get(key).and_then(|value| value.parse::<u32>().ok());
            let interval = interval.ok_or_else(|| format!("docker-compose.yml lacks {key}"))?;
            env.insert(key.into(), (interval / PACE).to_string());
        }
        Ok(env)
    }

    /// Where everything is.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The server that the compose file calls `service`, to kill and restart it.
    ///
    /// # Panics
    /// When the stack has none of this name.
    pub fn server(&mut self, service: &str) -> &mut Daemon {
        let found = self.daemons.iter_mut().find(|daemon| daemon.name() == service);
        found.unwrap_or_else(|| panic!("the stack has no server {service}"))
    }

    /// All servers, in the order of their start.
    pub fn servers(&mut self) -> impl Iterator<Item = &mut Daemon> {
        self.daemons.iter_mut()
    }

    /// Prometheus, to ask it.
    pub fn prometheus(&self) -> Prometheus {
        Prometheus(self.places.of("prometheus", 9090))
    }

    /// Alertmanager, to ask it.
    pub fn alertmanager(&self) -> Alertmanager {
        Alertmanager(self.places.of("alertmanager", 9093))
    }

    /// Jaeger, to ask it.
    pub fn jaeger(&self) -> Jaeger {
        Jaeger(self.places.of("jaeger", 16686))
    }

    /// VictoriaLogs, to ask it.
    pub fn victoria_logs(&self) -> VictoriaLogs {
        VictoriaLogs(self.places.of("victorialogs", 9428))
    }

    /// The webhook; `None` in a stack for a person.
    pub fn sink(&self) -> Option<&Sink> {
        self.tested.as_ref().map(|tested| &tested.sink)
    }

    /// What StreamHouse takes for the object store; `None` in a stack for a person.
    pub fn store(&self) -> Option<&Flaky> {
        self.tested.as_ref().map(|tested| &tested.store)
    }

    /// The file in which the S3 server writes a line for each request that it has seen.
    pub fn access_log(&self) -> PathBuf {
        self.folder.join("s3").join("access.log")
    }
}

impl Tested {
    fn listen(places: &Places) -> Result<Self, String> {
        let sink = Sink::listen().map_err(|error| format!("webhook: {error}"))?;
        let store = Flaky::before(places.of("s3", 7070));
        let store = store.map_err(|error| format!("object store: {error}"))?;
        Ok(Self { sink, store })
    }
}

/// Asks `what` every 100 ms until it answers.
///
/// # Errors
/// When that takes longer than `patience`; names `what` was waited for.
pub fn until<T>(
    what: &str,
    patience: Duration,
    mut ask: impl FnMut() -> Option<T>,
) -> Result<T, String> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if start.elapsed() > patience {
            return Err(format!("waited {patience:?} in vain for {what}"));
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

fn random() -> String {
    format!("{:032x}", rand::random::<u128>())
}

//! The resource: who the telemetry is about.

use super::config::Service;
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;

/// Who the telemetry is about, in all signals and on lines.
pub(crate) struct About {
    pub(crate) resource: Resource,
    pub(crate) instance: String,
}

/// Builds the resource of `service`. What was configured wins over what is found out.
///
/// Always there: `service.name`, `service.version`, `service.instance.id`, `process.pid`,
/// `os.type`, `telemetry.sdk.*`; `host.name` where the system tells it.
pub(crate) fn build(service: &Service) -> About {
    let instance = match &service.instance {
        Some(instance) => instance.clone(),
        None => uuid::Uuid::new_v4().to_string(),
    };
    let mut found = vec![
        KeyValue::new("process.pid", i64::from(std::process::id())),
        KeyValue::new("os.type", os_type()),
    ];
    if let Some(host) = host_name() {
        found.push(KeyValue::new("host.name", host));
    }
    let configured =
        service.attributes.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    let service = [
        KeyValue::new("service.name", service.name.clone()),
        KeyValue::new("service.version", service.version.clone()),
        KeyValue::new("service.instance.id", instance.clone()),
    ];
    let resource = Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(found)
        .with_attributes(configured)
        .with_attributes(service)
        .build();
    About { resource, instance }
}

/// The operating system by its name in the semantic conventions.
fn os_type() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    }
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

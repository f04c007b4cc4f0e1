//! Checks of each service by itself.

use super::{Compose, list, text};
use serde_json::{Map, Value};

/// Images by what they are made of: the programs that a health check may use in them. The images
/// of the collector, Jaeger and Tempo have no shell.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("prom/prometheus", &["sh", "wget"]),
    ("prom/alertmanager", &["sh", "wget"]),
    ("grafana/grafana", &["sh", "wget"]),
    ("versity/versitygw", &["sh", "wget"]),
    ("victoriametrics/victoria-logs", &["sh", "wget"]),
    ("otel/opentelemetry-collector-contrib", &[]),
    ("jaegertracing/jaeger", &[]),
    ("grafana/tempo", &[]),
];

/// Every mounted file is there, every named volume and secret is declared.
pub fn mounts(compose: &Compose) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, service) in compose.services() {
        for (source, target) in compose.mounts(service) {
            if source.starts_with(['.', '/']) {
                if !compose.root.join(source).exists() {
                    wrong.push(format!(
                        "{name} mounts {source} at {target}, which does not exist: \
                         add the file or drop the mount"
                    ));
                }
            } else if compose.model["volumes"].get(source).is_none() {
                wrong.push(format!("{name} mounts the volume {source}: add it to `volumes:`"));
            }
        }
        for secret in list(&service["secrets"]).filter_map(Value::as_str) {
            if compose.model["secrets"].get(secret).is_none() {
                wrong.push(format!("{name} wants the secret {secret}: add it to `secrets:`"));
            }
        }
        if let Some(folder) = service["build"].as_str()
            && !compose.root.join(folder).join("Dockerfile").exists()
        {
            wrong.push(format!("{name} is built from {folder}, which has no Dockerfile"));
        }
    }
    wrong
}

/// Every image has a tag with a version, or a digest.
pub fn images(compose: &Compose) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, service) in compose.services() {
        let image = service["image"].as_str().unwrap_or_default();
        let tag =
            image.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
        let is_pinned =
            tag.is_some_and(|tag| tag.contains('.') && tag.contains(|c: char| c.is_ascii_digit()));
        if !is_pinned && !image.contains("@sha256:") {
            wrong.push(format!(
                "{name} runs `{image}`, which can change under us: name a version, as in image:1.2.3"
            ));
        }
    }
    wrong
}

/// Every base of a Dockerfile is named with a tag that is not `latest`.
pub fn bases(dockerfile: &str) -> Vec<String> {
    let froms = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM "));
    let images = froms.filter_map(|rest| rest.split_whitespace().next());
    let loose = images.filter(|image| match image.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => true,
    });
    loose.map(|image| format!("Dockerfile: FROM {image} can be anything: name a tag")).collect()
}

/// Every published port is published on loopback.
pub fn ports(compose: &Compose) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, service) in compose.services() {
        for port in list(&service["ports"]) {
            let port = text(port).unwrap_or_else(|| port.to_string());
            if !port.starts_with("127.0.0.1:") {
                wrong.push(format!("{name} publishes {port} to the world: write 127.0.0.1:{port}"));
            }
        }
    }
    wrong
}

/// Limits, capabilities and privileges of every service.
pub fn hardening(compose: &Compose) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, service) in compose.services() {
        for limit in ["mem_limit", "cpus", "pids_limit"] {
            if service[limit].is_null() {
                wrong.push(format!("{name} has no {limit}: say how much it may take"));
            }
        }
        let has = |key: &str, value: &str| list(&service[key]).any(|found| found == value);
        if !has("cap_drop", "ALL") {
            wrong.push(format!("{name} keeps capabilities: cap_drop: [ALL]"));
        }
        if !has("security_opt", "no-new-privileges:true") {
            wrong.push(format!(
                "{name} may gain privileges: security_opt: [no-new-privileges:true]"
            ));
        }
        if service["read_only"] != true {
            wrong.push(format!(
                "{name} can write to its image: read_only: true, and tmpfs for /tmp"
            ));
        }
    }
    wrong
}

/// No secret has a value, or a default, in the file.
pub fn passwords(compose: &Compose) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, service) in compose.services() {
        for (key, value) in service["environment"].as_object().into_iter().flat_map(Map::iter) {
            let is_secret = ["PASSWORD", "SECRET", "TOKEN", "ACCESS_KEY"]
                .iter()
                .any(|part| key.contains(part) && !key.ends_with("_FILE"));
            let value = text(value).unwrap_or_default();
            if is_secret && !(value.starts_with("${") && value.contains(":?")) {
                wrong.push(format!(
                    "{name} has a default for {key}: write ${{{key}:?run docker/init first}}"
                ));
            }
        }
    }
    wrong
}

/// Every health check's command exists in its image, and who is waited for to be healthy has one.
pub fn health(compose: &Compose) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, service) in compose.services() {
        if let Some(program) = service["healthcheck"]["test"][1].as_str() {
            wrong.extend(program_of(compose, name, service, program));
        }
        for (other, how) in service["depends_on"].as_object().into_iter().flat_map(Map::iter) {
            let target = &compose.model["services"][other];
            if target.is_null() {
                wrong.push(format!("{name} depends on {other}, which is no service"));
            } else if how["condition"] == "service_healthy" && target["healthcheck"].is_null() {
                wrong.push(format!(
                    "{name} waits for {other} to be healthy, which has no healthcheck: add one"
                ));
            }
        }
    }
    wrong
}

/// What is wrong with `program` as the health check of a service.
fn program_of(compose: &Compose, name: &str, service: &Value, program: &str) -> Option<String> {
    if service["healthcheck"]["test"][0] != "CMD" {
        return Some(format!("{name}: write its healthcheck as [CMD, program, arguments…]"));
    }
    if service["build"].is_string() {
        let script = program.rsplit('/').next().unwrap_or_default();
        let there = compose.root.join("docker").join(script).exists();
        return (!there)
            .then(|| format!("{name} checks itself with {program}: add docker/{script}"));
    }
    let image = service["image"].as_str().unwrap_or_default();
    let image = image.split([':', '@']).next().unwrap_or_default();
    match PROGRAMS.iter().find(|(known, _)| *known == image) {
        None => Some(format!("{name}: say in tests/src/compose/service.rs what {image} contains")),
        Some((_, programs)) if programs.contains(&program) => None,
        Some((_, programs)) => Some(format!(
            "{name} checks itself with {program}, which {image} lacks (it has {programs:?}): \
             let another service ask it"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::root;

    fn one(check: fn(&Compose) -> Vec<String>, service: &str) -> String {
        let text = format!("services:\n  a:\n    {}\n", service.replace('\n', "\n    "));
        let compose = Compose::parse(&root(), &text).expect("a model");
        check(&compose).join("\n")
    }

    #[test]
    fn a_mount_of_nothing_is_named() {
        let told = one(mounts, "volumes: [./nowhere.yml:/etc/x.yml:ro, data:/data]");

        assert!(
            told.contains("a mounts ./nowhere.yml at /etc/x.yml, which does not exist"),
            "{told}"
        );
        assert!(told.contains("a mounts the volume data: add it to `volumes:`"), "{told}");
        assert_eq!(one(mounts, "volumes: [./Cargo.toml:/etc/x.yml:ro]"), "");
    }

    #[test]
    fn an_image_without_a_version_is_named() {
        for image in ["prom/prometheus", "prom/prometheus:latest", "host:5000/prometheus"] {
            let told = one(images, &format!("image: {image}"));
            assert!(told.contains(&format!("`{image}`, which can change under us")), "{told}");
        }
        assert_eq!(one(images, "image: prom/prometheus:v3.15.0"), "");
        assert_eq!(one(images, "image: prom/prometheus@sha256:00"), "");
    }

    #[test]
    fn a_base_without_a_tag_is_named() {
        let told = bases("FROM rust AS build\nFROM debian:latest\nFROM debian:trixie-slim\n");
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("FROM rust can be anything"), "{told:?}");
    }

    #[test]
    fn a_port_open_to_the_world_is_named() {
        let told = one(ports, "ports: ['9090:9090']");
        assert!(told.contains("write 127.0.0.1:9090:9090"), "{told}");
        assert_eq!(one(ports, "ports: ['127.0.0.1:9090:9090']"), "");
    }

    #[test]
    fn each_missing_limit_is_named() {
        let told = one(hardening, "cpus: 1\ncap_drop: [NET_RAW]");
        for part in ["mem_limit", "pids_limit", "cap_drop", "no-new-privileges", "read_only"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("no cpus"), "{told}");
    }

    #[test]
    fn a_default_password_is_named() {
        for value in ["admin", "${ADMIN:-admin}", ""] {
            let told = one(passwords, &format!("environment: {{A_PASSWORD: '{value}'}}"));
            assert!(told.contains("has a default for A_PASSWORD"), "{value}: {told}");
        }
        assert_eq!(
            one(passwords, "environment: {A_PASSWORD: '${A:?set it}', A_TOKEN_FILE: x}"),
            ""
        );
    }

    #[test]
    fn a_health_check_that_its_image_lacks_is_named() {
        let check = "healthcheck: {test: [CMD, wget, -q]}";
        let told = one(health, &format!("image: jaegertracing/jaeger:2.22.0\n{check}"));
        assert!(told.contains("which jaegertracing/jaeger lacks"), "{told}");
        let told = one(health, &format!("image: unknown/image:1.0\n{check}"));
        assert!(told.contains("say in tests/src/compose/service.rs"), "{told}");
        let told = one(health, "depends_on: {a: {condition: service_healthy}, b: {}}");
        assert!(told.contains("which has no healthcheck"), "{told}");
        assert!(told.contains("a depends on b, which is no service"), "{told}");
        assert_eq!(one(health, &format!("image: prom/prometheus:v3.15.0\n{check}")), "");
    }
}

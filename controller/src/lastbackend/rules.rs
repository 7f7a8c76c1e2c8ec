//! What a request may ask for, and the records that it makes: pure.

use super::PlatformError;
use common::lastbackend::{Name, Port, Protocol};
use common::name::PodText;
use common::store::record::lastbackend::Spec;
use common::wire::lastbackend::{Count, CreateService, PortBody, SpecBody};
use std::ops::RangeInclusive;

/// How many pods a service may have.
pub const REPLICAS: RangeInclusive<i64> = 1..=1_000;
/// How much memory a container may have, in MiB. With less than the least, no container starts.
pub const MEMORY: RangeInclusive<i64> = 4..=1 << 20;
/// What a container has if nothing was said.
pub const DEFAULT_MEMORY: u32 = 32;
/// Containers in a pod.
pub const MAX_SPECS: usize = 16;
const PORTS: RangeInclusive<i64> = 1..=65_535;
const MAX_PORTS: usize = 64;
/// Bytes of a text for people.
const MAX_TEXT: usize = 4_096;
/// Bytes of the name of an image.
const MAX_IMAGE: usize = 255;
/// Bytes of a spec's texts together.
const MAX_SPEC: usize = 64 << 10;

type Checked<T> = Result<T, PlatformError>;

/// A number that must be in a range.
pub fn number(field: &'static str, count: Count, range: &RangeInclusive<i64>) -> Checked<u32> {
    let reason = || format!("{} is not between {} and {}", count.0, range.start(), range.end());
    let inside = u32::try_from(count.0).ok().filter(|_| range.contains(&count.0));
    inside.ok_or_else(|| PlatformError::bad(field, reason()))
}

/// A text for people.
pub fn text(field: &'static str, text: &str) -> Checked<String> {
    if text.len() > MAX_TEXT {
        return Err(PlatformError::bad(
            field,
            format!("{} bytes, at most {MAX_TEXT} are allowed", text.len()),
        ));
    }
    Ok(text.to_owned())
}

/// The name of a pool; none if it is empty.
pub fn pool(field: &'static str, name: &str) -> Checked<Option<PodText>> {
    if name.is_empty() {
        return Ok(None);
    }
    PodText::new(name).map(Some).map_err(|error| PlatformError::bad(field, error.to_string()))
}

/// The name that something is to have.
pub fn name(name: Option<&str>) -> Checked<Name> {
    let name = name.ok_or_else(|| PlatformError::bad("name", "it is missing"))?;
    Name::chosen(name).map_err(|error| PlatformError::bad("name", error.to_string()))
}

/// Templates have names, and there are none.
pub fn no_template(template: Option<&str>) -> Checked<()> {
    let Some(template) = template.filter(|template| !template.is_empty()) else { return Ok(()) };
    Name::chosen(template).map_err(|error| PlatformError::bad("template name", error.to_string()))?;
    Err(PlatformError::UnknownTemplate(template.to_owned()))
}

/// The image that a service is made of, with its registry.
pub fn image_of(body: &CreateService) -> Checked<String> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (image, template, url) = (given(&body.image), given(&body.template), given(&body.url));
    if [&image, &template, &url].into_iter().flatten().count() > 1 {
        return Err(PlatformError::bad("image", "give one of image, template and url"));
    }
    no_template(template.as_deref())?;
    if url.is_some() {
        return Err(PlatformError::bad("url", "nothing is built of sources: give an image"));
    }
    let of_spec = body.spec.as_ref().and_then(|spec| given(&spec.image));
    let image = of_spec.or(image).ok_or_else(|| PlatformError::bad("image", "it is missing"))?;
    match given(&body.registry) {
        Some(registry) if !registry.ends_with('/') && is_image(&registry) => {
            check_image(format!("{registry}/{image}"))
        }
        Some(registry) => Err(PlatformError::bad("registry", format!("{registry:?} is no registry"))),
        None => check_image(image),
    }
}

/// The name of a service that was given none: that of its image, without registry, tag and digest.
pub fn name_of_image(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split(['@', ':']).next().unwrap_or(last)
}

fn check_image(image: String) -> Checked<String> {
    if is_image(&image) {
        Ok(image)
    } else {
        Err(PlatformError::bad("image", format!("{image:?} is no image")))
    }
}

fn is_image(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/@".contains(&byte);
    text.len() <= MAX_IMAGE
        && text.bytes().all(plain)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !text.contains("//")
}

/// A new spec.
pub fn new_spec(body: &SpecBody, image: String, id: String, now: u64) -> Checked<Spec> {
    let spec = Spec {
        id,
        parent: String::new(),
        revision: 0,
        created: now,
        updated: now,
        memory: DEFAULT_MEMORY,
        entrypoint: String::new(),
        command: String::new(),
        image,
        env: None,
        ports: Vec::new(),
    };
    filled(spec, body)
}

/// A spec after a change: it has another id, and everything that was not given stays.
pub fn changed_spec(before: &Spec, body: &SpecBody, id: String, now: u64) -> Checked<Spec> {
    let mut spec = before.clone();
    spec.parent = std::mem::replace(&mut spec.id, id);
    spec.revision += 1;
    spec.updated = now;
    if let Some(image) = body.image.clone().filter(|image| !image.is_empty()) {
        spec.image = check_image(image)?;
    }
    filled(spec, body)
}

fn filled(mut spec: Spec, body: &SpecBody) -> Checked<Spec> {
    if let Some(memory) = body.memory {
        spec.memory = number("memory", memory, &MEMORY)?;
    }
    if let Some(entrypoint) = &body.entrypoint {
        words("entrypoint", entrypoint)?;
        spec.entrypoint.clone_from(entrypoint);
    }
    if let Some(command) = &body.command {
        words("command", command)?;
        spec.command.clone_from(command);
    }
    if let Some(env) = &body.env {
        env.iter().try_for_each(|line| check_env(line))?;
        spec.env = Some(env.clone());
    }
    if let Some(ports) = &body.ports {
        spec.ports = ports_of(ports)?;
    }
    let env = spec.env.iter().flatten().map(|line| line.len() + 1).sum::<usize>();
    let size = env + spec.entrypoint.len() + spec.command.len();
    if size > MAX_SPEC {
        let reason = format!("entrypoint, command and env have {size} bytes, at most {MAX_SPEC} are allowed");
        return Err(PlatformError::bad("spec", reason));
    }
    Ok(spec)
}

/// The words of a command, as a shell would split them. Nothing else of a shell is understood.
pub fn words(field: &'static str, text: &str) -> Checked<Vec<String>> {
    if text.contains('\0') {
        return Err(PlatformError::bad(field, "it has a NUL character"));
    }
    shlex::split(text).ok_or_else(|| PlatformError::bad(field, "a quotation has no end"))
}

fn check_env(line: &str) -> Checked<()> {
    let named = line.split_once('=').is_some_and(|(name, _)| !name.is_empty());
    if named && !line.contains('\0') {
        return Ok(());
    }
    // The value may be secret.
    let name = line.split('=').next().unwrap_or_default();
    Err(PlatformError::bad("env", format!("{name:?} is not the beginning of NAME=VALUE")))
}

fn ports_of(ports: &[PortBody]) -> Checked<Vec<Port>> {
    if ports.len() > MAX_PORTS {
        return Err(PlatformError::bad(
            "ports",
            format!("{} of them, at most {MAX_PORTS} are allowed", ports.len()),
        ));
    }
    ports.iter().map(port).collect()
}

fn port(body: &PortBody) -> Checked<Port> {
    let protocol = match body.protocol.as_deref().unwrap_or_default() {
        "" | "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        other => {
            return Err(PlatformError::bad("ports", format!("protocol {other:?} is not tcp, udp or sctp")));
        }
    };
    let number = |count: Count| {
        let port = u16::try_from(count.0).ok().filter(|_| PORTS.contains(&count.0));
        port.ok_or_else(|| PlatformError::bad("ports", format!("{} is no port", count.0)))
    };
    let internal = body.internal.ok_or_else(|| PlatformError::bad("ports", "internal is missing"))?;
    let internal = number(internal)?;
    // 0 is how clients write that there is none.
    let external = body.external.filter(|external| external.0 != 0).map_or(Ok(internal), number)?;
    Ok(Port { protocol, external, internal, published: body.published.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn create(body: serde_json::Value) -> CreateService {
        serde_json::from_value(body).expect("a body")
    }

    fn spec(body: serde_json::Value) -> Checked<Spec> {
        new_spec(&serde_json::from_value(body).expect("a body"), "redis".to_owned(), "id".to_owned(), 5)
    }

    #[test]
    fn images() {
        for (body, image) in [
            (json!({"image": "redis"}), "redis"),
            (json!({"image": "", "spec": {"image": "a/b:1"}}), "a/b:1"),
            (json!({"image": "redis", "spec": {"image": "redis:7"}}), "redis:7"),
            (
                json!({"image": "redis", "registry": "reg.example:5000", "template": ""}),
                "reg.example:5000/redis",
            ),
        ] {
            assert_eq!(image_of(&create(body)).expect("an image"), image);
        }
        for (body, field) in [
            (json!({}), "image: it is missing"),
            (json!({"image": "a b"}), "image: \"a b\" is no image"),
            (json!({"image": "a", "url": "https://git.example/x"}), "image: give one of"),
            (json!({"url": "https://git.example/x"}), "url: nothing is built"),
            (json!({"template": "-"}), "template name: "),
            (json!({"template": "lamp"}), "there is no template \"lamp\""),
            (json!({"image": "a", "registry": "/"}), "registry: "),
            (json!({"image": "x".repeat(256)}), "image: "),
        ] {
            let error = image_of(&create(body)).expect_err(field).to_string();
            assert!(error.starts_with(field), "{error}");
        }
        for (image, name) in [("redis", "redis"), ("reg:5000/a/b:1", "b"), ("a@sha256:0", "a"), ("", "")] {
            assert_eq!(name_of_image(image), name);
        }
    }

    #[test]
    fn a_spec_has_defaults_and_changes() {
        let first = spec(json!({})).expect("all defaults");
        assert_eq!((first.memory, first.revision, &*first.parent, &first.env), (32, 0, "", &None));
        let body = json!({"command": "-c 'a b'", "env": ["A=", "B=c=d"], "ports": [{"internal": 80}]});
        let body: SpecBody = serde_json::from_value(body).expect("a body");
        let second = changed_spec(&first, &body, "next".to_owned(), 9).expect("changed");
        assert_eq!((&*second.id, &*second.parent, second.revision), ("next", "id", 1));
        assert_eq!((second.created, second.updated, second.memory), (5, 9, 32));
        assert_eq!(words("command", &second.command).expect("words"), ["-c", "a b"]);
        let port = Port { protocol: Protocol::Tcp, external: 80, internal: 80, published: false };
        assert_eq!(second.ports, [port]);
    }

    #[test]
    fn what_a_spec_is_refused_for() {
        for (body, reason) in [
            (json!({"memory": 0}), "memory: 0 is not between 4 and 1048576"),
            (json!({"memory": -32}), "memory: -32 is not"),
            (json!({"memory": 1e30}), "memory: 9223372036854775807 is not"),
            (json!({"command": "a 'b"}), "command: a quotation has no end"),
            (json!({"entrypoint": "a\u{0}"}), "entrypoint: it has a NUL character"),
            (json!({"env": ["A"]}), "env: \"A\" is not the beginning of NAME=VALUE"),
            (json!({"env": ["=b"]}), "env: \"\" is not"),
            (
                json!({"env": [format!("A={}", "x".repeat(MAX_SPEC))]}),
                "spec: entrypoint, command and env have",
            ),
            (json!({"ports": [{}]}), "ports: internal is missing"),
            (json!({"ports": [{"internal": 0}]}), "ports: 0 is no port"),
            (json!({"ports": [{"internal": 80, "external": 65536}]}), "ports: 65536 is no port"),
            (json!({"ports": [{"internal": 80, "protocol": "icmp"}]}), "ports: protocol \"icmp\""),
            (json!({"ports": vec![json!({"internal": 80}); MAX_PORTS + 1]}), "ports: 65 of them"),
        ] {
            let error = spec(body).expect_err(reason).to_string();
            assert!(error.starts_with(reason), "{error}");
        }
    }
}

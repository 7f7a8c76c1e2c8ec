//! `/ip`: one address more, which it is, one less.

use super::{ApiError, Context};
use crate::annotations::OfPod;
use crate::sandboxes::{self, Sighting};
use crate::state::{Ask, Origin, QUARANTINE};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::Uri;
use axum::response::Json;
use common::ipam::Family;
use common::name::{ContainerId, IfName, NameError, PodText};
use common::server::{Peer, parse_object};
use common::wire::node::{AddressReply, AllocateRequest, AssignedAddress, AttachmentId, ReleaseReply};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use std::net::IpAddr;
use std::time::Instant;

/// `POST /ip`
pub(super) async fn allocate(
    State(context): State<Context>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<AddressReply>, ApiError> {
    let started = Instant::now();
    let ask = ask(parse_object(&body?).map_err(ApiError::Malformed)?)?;
    let AttachmentId { container_id, interface } = ask.attachment.clone();
    let (namespace, pod) = (ask.namespace.clone(), ask.pod.clone());
    let outcome = context.sources.allocate(ask).await;
    context.metrics.adds.observe(started.elapsed(), outcome.is_ok());
    let note = |error: &_| context.refusals.note(namespace.clone(), pod.clone(), error);
    let addresses = outcome.inspect_err(note)?;
    let Some(first) = addresses.first().cloned() else {
        return Err(ApiError::NotAssigned(interface.to_string()));
    };
    let (micros, address, pool) = (started.elapsed().as_micros(), first.address, first.pool.clone());
    after_reply(move || {
        tracing::info!(
            %namespace, %pod, container = %container_id, %interface, %address, %pool, %peer, micros,
            "address given"
        );
    });
    Ok(Json(AddressReply { first, addresses, status: 200 }))
}

/// `GET /ip/<namespace>/<pod>/<container id>`
pub(super) async fn show(State(context): State<Context>, uri: Uri) -> Result<Json<AddressReply>, ApiError> {
    let Named { namespace, pod, attachment } = named(&uri)?;
    let interface = attachment.interface.to_string();
    let held =
        context.sources.allocator.run(move |state, _| state.get(&attachment, &namespace, &pod)).await?;
    let addresses: Vec<AssignedAddress> = held;
    let first = addresses.first().cloned().ok_or(ApiError::NotAssigned(interface))?;
    Ok(Json(AddressReply { first, addresses, status: 200 }))
}

/// `DELETE /ip/<namespace>/<pod>/<container id>`
pub(super) async fn release(
    State(context): State<Context>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    uri: Uri,
) -> Result<Json<ReleaseReply>, ApiError> {
    let started = Instant::now();
    let Named { namespace, pod, attachment } = named(&uri)?;
    let conflict = conflict(&uri)?;
    let wanted = (attachment.clone(), namespace.clone(), pod.clone());
    let found = conflict.as_ref().map(|conflict| conflict.address);
    let freed = context.sources.allocator.run(move |state, now| {
        let (attachment, namespace, pod) = (&wanted.0, &wanted.1, &wanted.2);
        match found {
            Some(address) => state.release_conflicting((attachment, namespace, pod), address, now),
            None => (state.release(attachment, namespace, pod, now), false),
        }
    });
    let freed = freed.await;
    context.metrics.dels.observe(started.elapsed(), freed.is_ok());
    let (addresses, set_aside) = freed?;
    if let Some(Conflict { address, mac }) = conflict.filter(|_| set_aside) {
        context.metrics.conflicts.inc();
        tracing::warn!(
            %address, mac = mac.as_deref().unwrap_or("unknown"), %namespace, %pod,
            for_seconds = QUARANTINE.as_secs(),
            "a host that did not get this address from coil uses it: set aside"
        );
    }
    let address = addresses.first().map(IpAddr::to_string).unwrap_or_default();
    let (micros, freed) = (started.elapsed().as_micros(), address.clone());
    after_reply(move || {
        tracing::info!(
            %namespace, %pod, container = %attachment.container_id, interface = %attachment.interface,
            address = freed, %peer, micros, "address freed"
        );
    });
    Ok(Json(ReleaseReply { address, addresses, status: 200 }))
}

/// Does what the client need not wait for.
fn after_reply(work: impl FnOnce() + Send + 'static) {
    tokio::spawn(async { work() });
}

/// Longest name of a CNI network, in bytes.
const MAX_NETWORK: usize = 512;

fn ask(request: AllocateRequest) -> Result<Ask, ApiError> {
    let mut addresses = request.addresses;
    addresses.extend(request.address.filter(|address| !addresses.contains(address)));
    if request.adopt && addresses.is_empty() {
        return Err(ApiError::Malformed("adopt: which address is missing".to_owned()));
    }
    let any_family =
        request.address_type.is_none() && request.address_types.is_empty() && addresses.is_empty();
    let of_pod = OfPod::read(&request.annotations, &request.pod_namespace, &request.pod_name, any_family)
        .map_err(ApiError::Malformed)?;
    let of_request = request.pool.map_or(Origin::Namespace, Origin::Pool);
    let (choice, origin) = match of_pod {
        Some(OfPod::Scoped(choice)) => (Some(choice), of_request),
        Some(OfPod::Listed(pools)) => (None, Origin::List(pools)),
        None => (None, of_request),
    };
    let mut families = match (request.address_type, request.address_types) {
        (_, types) if !types.is_empty() => types,
        (Some(family), _) => vec![family],
        (None, _) if !addresses.is_empty() => addresses.iter().map(|address| Family::of(*address)).collect(),
        (None, _) => vec![Family::V4],
    };
    families.sort_unstable();
    families.dedup();
    for (position, address) in addresses.iter().enumerate() {
        let family = Family::of(*address);
        if !families.contains(&family) {
            return Err(ApiError::Malformed(format!(
                "address: {address} is not of an address-type asked for"
            )));
        }
        if addresses[..position].iter().any(|other| Family::of(*other) == family) {
            return Err(ApiError::Malformed(format!("addresses: more than one of {family}")));
        }
    }
    let network = request.network;
    if network.as_ref().is_some_and(|network| network.len() > MAX_NETWORK) {
        return Err(ApiError::Malformed(format!("network: longer than {MAX_NETWORK} bytes")));
    }
    // A namespace that coild can't see is no evidence: its absence must not look like the container's end.
    let netns =
        request.netns.filter(|path| path.starts_with('/') && sandboxes::look(path) == Sighting::Alive);
    let interface = request.interface.unwrap_or_else(IfName::eth0);
    Ok(Ask {
        attachment: AttachmentId { container_id: request.container_id, interface },
        namespace: request.pod_namespace,
        pod: request.pod_name,
        families,
        choice,
        origin,
        addresses,
        adopt: request.adopt,
        network,
        netns,
    })
}

struct Named {
    namespace: PodText,
    pod: PodText,
    attachment: AttachmentId,
}

#[derive(Deserialize)]
struct Parameters {
    interface: Option<String>,
}

/// What a path names: the segments are percent-decoded one by one, so that any text can be one.
fn named(uri: &Uri) -> Result<Named, ApiError> {
    let path = uri.path().strip_prefix("/ip/").unwrap_or_default();
    let mut segments = path.split('/');
    let (Some(namespace), Some(pod), Some(container), None) =
        (segments.next(), segments.next(), segments.next(), segments.next())
    else {
        return Err(ApiError::UnknownPath);
    };
    let Query(parameters) = Query::<Parameters>::try_from_uri(uri)
        .map_err(|error| ApiError::Malformed(format!("the query is invalid: {}", error.body_text())))?;
    let interface = match parameters.interface {
        Some(text) => IfName::new(text).map_err(|error| malformed("interface", &error))?,
        None => IfName::eth0(),
    };
    let container_id = decode("container id", container, ContainerId::new)?;
    Ok(Named {
        namespace: decode("pod namespace", namespace, PodText::new)?,
        pod: decode("pod name", pod, PodText::new)?,
        attachment: AttachmentId { container_id, interface },
    })
}

/// A foreign host that was found to use an address of the attachment.
struct Conflict {
    address: IpAddr,
    mac: Option<String>,
}

#[derive(Deserialize)]
struct ConflictParameters {
    conflict: Option<String>,
    mac: Option<String>,
}

fn conflict(uri: &Uri) -> Result<Option<Conflict>, ApiError> {
    let Query(ConflictParameters { conflict, mac }) = Query::try_from_uri(uri)
        .map_err(|error| ApiError::Malformed(format!("the query is invalid: {}", error.body_text())))?;
    let is_mac =
        |text: &str| text.len() == 17 && text.bytes().all(|byte| byte == b':' || byte.is_ascii_hexdigit());
    if let Some(wrong) = mac.as_ref().filter(|text| !is_mac(text)) {
        return Err(ApiError::Malformed(format!("mac: {wrong:?} is not a hardware address")));
    }
    let Some(text) = conflict else { return Ok(None) };
    let address =
        text.parse().map_err(|_| ApiError::Malformed(format!("conflict: {text:?} is not an IP address")))?;
    Ok(Some(Conflict { address, mac }))
}

fn decode<T>(
    field: &str,
    segment: &str,
    parse: impl Fn(String) -> Result<T, NameError>,
) -> Result<T, ApiError> {
    let text = percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| ApiError::Malformed(format!("{field} in the path is not UTF-8")))?;
    parse(text.into_owned()).map_err(|error| malformed(field, &error))
}

fn malformed(field: &str, error: &NameError) -> ApiError {
    ApiError::Malformed(format!("{field}: {error}"))
}

//! How a route describes its bodies: resources and lists in their envelopes, and failures.

use super::document::refuse;
use crate::api::route::Route;
use common::wire::melange::{
    AllocationView, CreateAllocations, CreateIpAddress, CreateIpBlock, CreateIpOctet, CreateIpRange,
    CreateIpRoute, CreatePolicy, CreateSubnet, Fault, IpAddressView, IpBlockView, IpOctetView, IpRangeView,
    IpRouteView, Link, NatAddress, PolicyView, UpdateIpBlock, UpdateIpOctet, UpdateIpRange, UpdateIpRoute,
    UpdatePolicy, UsageView,
};
use std::borrow::Cow;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

type Schemas = Vec<(String, RefOr<Schema>)>;

fn reference<T: ToSchema>() -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(T::name()))
}

fn add<T: ToSchema>(schemas: &mut Schemas) {
    T::schemas(schemas);
    schemas.push((T::name().into_owned(), T::schema()));
}

/// Objects with one field.
macro_rules! envelopes {
    ($($name:ident: $field:literal, $content:ty;)*) => {$(
        pub(super) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new().property($field, reference::<$content>()).required($field).into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(concat!("Melange", stringify!($name)))
            }

            fn schemas(schemas: &mut Schemas) {
                add::<$content>(schemas);
            }
        }
    )*};
}

/// Objects with a list, and the way to its next page.
macro_rules! lists {
    ($($name:ident: $field:literal, $content:ty;)*) => {$(
        pub(super) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let items = ArrayBuilder::new().items(reference::<$content>());
                let links = ArrayBuilder::new().items(reference::<Link>());
                let list = ObjectBuilder::new().property($field, items).required($field);
                list.property(concat!($field, "_links"), links).into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(concat!("Melange", stringify!($name)))
            }

            fn schemas(schemas: &mut Schemas) {
                add::<$content>(schemas);
                add::<Link>(schemas);
            }
        }
    )*};
}

envelopes! {
    Block: "ip_block", IpBlockView;
    NewBlock: "ip_block", CreateIpBlock;
    ChangedBlock: "ip_block", UpdateIpBlock;
    Subnet: "subnet", IpBlockView;
    NewSubnet: "subnet", CreateSubnet;
    Address: "ip_address", IpAddressView;
    NewAddress: "ip_address", CreateIpAddress;
    NewAllocations: "network", CreateAllocations;
    IpRoute: "ip_route", IpRouteView;
    NewRoute: "ip_route", CreateIpRoute;
    ChangedRoute: "ip_route", UpdateIpRoute;
    Policy: "policy", PolicyView;
    NewPolicy: "policy", CreatePolicy;
    ChangedPolicy: "policy", UpdatePolicy;
    IpRange: "ip_range", IpRangeView;
    NewRange: "ip_range", CreateIpRange;
    ChangedRange: "ip_range", UpdateIpRange;
    IpOctet: "ip_octet", IpOctetView;
    NewOctet: "ip_octet", CreateIpOctet;
    ChangedOctet: "ip_octet", UpdateIpOctet;
    Usage: "usage", UsageView;
}

lists! {
    Blocks: "ip_blocks", IpBlockView;
    Subnets: "subnets", IpBlockView;
    Addresses: "ip_addresses", IpAddressView;
    Allocations: "ip_addresses", AllocationView;
    NatAddresses: "ip_addresses", NatAddress;
    Routes: "ip_routes", IpRouteView;
    Policies: "policies", PolicyView;
    Ranges: "ip_ranges", IpRangeView;
    Octets: "ip_octets", IpOctetView;
}

/// An object with one field, which is named like the failure.
pub(super) struct Failure;

impl PartialSchema for Failure {
    fn schema() -> RefOr<Schema> {
        let faults = AdditionalProperties::RefOr(reference::<Fault>());
        ObjectBuilder::new().additional_properties(Some(faults)).min_properties(Some(1)).into()
    }
}

impl ToSchema for Failure {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("MelangeFailure")
    }

    fn schemas(schemas: &mut Schemas) {
        add::<Fault>(schemas);
    }
}

/// A route with the failures that all of this API have.
pub(super) fn described(route: Route) -> Route {
    route
        .fails_as::<Failure>(400, "body, path or query are malformed; the detail names the field", refuse)
        .answers::<Failure>(401, "nobody is known to have sent the request")
        .answers::<Failure>(403, "the caller's role may not do this")
        .answers::<Failure>(404, "there is no such thing, or it is another tenant's")
        .answers::<Failure>(413, "the body is longer than 1 MiB")
        .answers::<Failure>(
            500,
            "the store holds something that this version does not understand, or refuses for good",
        )
        .answers::<Failure>(
            503,
            "the store can't be reached, or too many changes were made at once; try again",
        )
}

/// The parameters of a page.
pub(super) fn paged(route: Route) -> Route {
    route
        .query::<Limit>("limit", "items at most; 200 if not given, and 1000 if it is more")
        .query::<Id>("marker", "the id of the last item that was seen")
}

/// The parameter `limit`.
pub(super) struct Limit;

impl PartialSchema for Limit {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(utoipa::openapi::Type::Integer);
        number.minimum(Some(1)).default(Some(200.into())).into()
    }
}

/// An id that this API gave.
pub(super) struct Id;

impl PartialSchema for Id {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(utoipa::openapi::Type::String);
        text.format(Some(utoipa::openapi::SchemaFormat::Custom("uuid".to_owned()))).into()
    }
}

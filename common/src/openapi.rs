//! What descriptions of an API (OpenAPI) say of texts that have a form.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

/// A text of at most this many bytes, and not empty.
pub(crate) fn text(rule: &str, pattern: &str, example: &str, max: usize) -> RefOr<Schema> {
    let text = ObjectBuilder::new().schema_type(Type::String).description(Some(rule));
    let text = text.pattern(Some(pattern)).examples([example]);
    text.min_length(Some(1)).max_length(Some(max)).into()
}

/// Stands for an `IpNet`.
pub struct Cidr;

impl PartialSchema for Cidr {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String);
        text.format(Some(SchemaFormat::Custom("cidr".to_owned())))
            .description(Some("a network: an IPv4 or IPv6 address, / and the length of the prefix"))
            .examples(["10.64.0.0/16", "fd00:64::/64"])
            .into()
    }
}

impl ToSchema for Cidr {}

/// Stands for an `IpAddr`.
pub struct Address;

impl PartialSchema for Address {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String);
        text.format(Some(SchemaFormat::Custom("ip".to_owned())))
            .description(Some("an IPv4 or IPv6 address"))
            .examples(["10.64.0.17", "fd00:64::11"])
            .into()
    }
}

impl ToSchema for Address {}

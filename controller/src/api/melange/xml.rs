//! The model of bodies as XML, both ways. Fields are elements within that of the object, a list is the element in the
//! plural around elements in the singular, and links are elements `link` with attributes.
//!
//! What is read may be hostile: there are no document types and no entities but the five of XML itself, and depth and
//! number of elements are bounded; the size of a body is, before it is read.

use super::document::Document;
use common::wire::melange::Fault;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};
use quick_xml::{Reader, Writer};
use serde_json::{Map, Value};
use std::io;

/// Lists, and what their items are called.
const LISTS: [(&str, &str); 10] = [
    ("addresses", "address"),
    ("extensions", "extension"),
    ("ip_addresses", "ip_address"),
    ("ip_blocks", "ip_block"),
    ("ip_octets", "ip_octet"),
    ("ip_ranges", "ip_range"),
    ("ip_routes", "ip_route"),
    ("policies", "policy"),
    ("subnets", "subnet"),
    ("versions", "version"),
];
/// How deep elements may lie in each other.
const DEPTH: usize = 8;
/// How many elements a body may have.
const ELEMENTS: usize = 2_000;

fn singular(list: &str) -> Option<&'static str> {
    LISTS.iter().find(|(plural, _)| *plural == list).map(|(_, singular)| *singular)
}

/// Writes a body.
pub(super) fn write(document: &Document) -> io::Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::new());
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    match document {
        Document::Fault(name, fault) => write_fault(&mut writer, name, fault)?,
        Document::Body(Value::Object(fields)) => {
            for (name, value) in fields.iter().filter(|(name, _)| !is_links_of_list(name)) {
                let links = fields.get(&format!("{name}_links"));
                write_field(&mut writer, name, value, links)?;
            }
        }
        Document::Body(_) => {}
    }
    Ok(writer.into_inner())
}

fn is_links_of_list(name: &str) -> bool {
    name.strip_suffix("_links").and_then(singular).is_some()
}

fn write_fault(writer: &mut Writer<Vec<u8>>, name: &str, fault: &Fault) -> io::Result<()> {
    let code = fault.code.to_string();
    writer.write_event(Event::Start(BytesStart::new(name).with_attributes([("code", code.as_str())])))?;
    write_text(writer, "message", &fault.message)?;
    write_text(writer, "detail", &fault.detail)?;
    writer.write_event(Event::End(BytesEnd::new(name)))
}

fn write_text(writer: &mut Writer<Vec<u8>>, name: &str, text: &str) -> io::Result<()> {
    if text.is_empty() {
        return writer.write_event(Event::Empty(BytesStart::new(name)));
    }
    writer.write_event(Event::Start(BytesStart::new(name)))?;
    writer.write_event(Event::Text(BytesText::new(text)))?;
    writer.write_event(Event::End(BytesEnd::new(name)))
}

fn write_field(
    writer: &mut Writer<Vec<u8>>,
    name: &str,
    value: &Value,
    links: Option<&Value>,
) -> io::Result<()> {
    match value {
        Value::Null => write_text(writer, name, ""),
        Value::String(text) => write_text(writer, name, text),
        Value::Bool(_) | Value::Number(_) => write_text(writer, name, &value.to_string()),
        Value::Array(items) if name == "links" => items.iter().try_for_each(|item| write_link(writer, item)),
        Value::Array(items) => {
            writer.write_event(Event::Start(BytesStart::new(name)))?;
            let item_name = singular(name).unwrap_or("item");
            items.iter().try_for_each(|item| write_field(writer, item_name, item, None))?;
            let links = links.and_then(Value::as_array).into_iter().flatten();
            links.into_iter().try_for_each(|link| write_link(writer, link))?;
            writer.write_event(Event::End(BytesEnd::new(name)))
        }
        Value::Object(fields) => {
            writer.write_event(Event::Start(BytesStart::new(name)))?;
            fields.iter().try_for_each(|(name, value)| write_field(writer, name, value, None))?;
            writer.write_event(Event::End(BytesEnd::new(name)))
        }
    }
}

fn write_link(writer: &mut Writer<Vec<u8>>, link: &Value) -> io::Result<()> {
    let attribute = |name: &'static str| (name, link[name].as_str().unwrap_or_default());
    let link = BytesStart::new("link").with_attributes([attribute("rel"), attribute("href")]);
    writer.write_event(Event::Empty(link))
}

/// The versions as a feed of Atom (RFC 4287).
pub(super) fn write_feed(versions: &Value, updated: &str) -> io::Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::new());
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let feed = BytesStart::new("feed").with_attributes([("xmlns", "http://www.w3.org/2005/Atom")]);
    writer.write_event(Event::Start(feed))?;
    write_text(&mut writer, "title", "Available API Versions")?;
    write_text(&mut writer, "id", "urn:coil:melange:versions")?;
    write_text(&mut writer, "updated", updated)?;
    write_field(&mut writer, "author", &serde_json::json!({"name": "coil-controller"}), None)?;
    for version in versions["versions"].as_array().into_iter().flatten() {
        let name = version["name"].as_str().unwrap_or_default();
        writer.write_event(Event::Start(BytesStart::new("entry")))?;
        write_text(&mut writer, "id", &format!("urn:coil:melange:versions:{name}"))?;
        write_text(&mut writer, "title", &format!("Version {name}"))?;
        write_text(&mut writer, "updated", updated)?;
        for link in version["links"].as_array().into_iter().flatten() {
            write_link(&mut writer, link)?;
        }
        let status = version["status"].as_str().unwrap_or_default();
        write_text(&mut writer, "content", &format!("Version {name} {status}"))?;
        writer.write_event(Event::End(BytesEnd::new("entry")))?;
    }
    writer.write_event(Event::End(BytesEnd::new("feed")))?;
    Ok(writer.into_inner())
}

/// An element that is being read.
struct Open {
    name: String,
    text: String,
    /// Elements in it, by name.
    children: Vec<(String, Value)>,
}

/// Reads a body: an object with the outermost element as its only field.
pub(super) fn read(body: &str) -> Result<Value, String> {
    let mut reader = Reader::from_str(body);
    reader.config_mut().expand_empty_elements = true;
    let (mut open, mut root, mut elements): (Vec<Open>, Option<(String, Value)>, usize) =
        (Vec::new(), None, 0);
    loop {
        let malformed = |error: &dyn std::fmt::Display| format!("malformed XML: {error}");
        match reader.read_event().map_err(|error| malformed(&error))? {
            Event::Start(start) => {
                elements += 1;
                if open.len() >= DEPTH || elements > ELEMENTS || root.is_some() {
                    return Err(format!(
                        "XML with more than {DEPTH} levels, {ELEMENTS} elements or one root is refused"
                    ));
                }
                let name = start.local_name();
                open.push(Open { name: name.as_ref().to_owned(), text: String::new(), children: Vec::new() });
            }
            Event::End(_) => {
                let Some(closed) = open.pop() else {
                    return Err("malformed XML: an end without a start".to_owned());
                };
                let (name, value) = closed.value(open.is_empty())?;
                match open.last_mut() {
                    Some(outer) => outer.children.push((name, value)),
                    None => root = Some((name, value)),
                }
            }
            Event::Text(text) => add(&mut open, &text.xml10_content())?,
            Event::CData(text) => add(&mut open, &text.xml10_content())?,
            Event::GeneralRef(entity) => {
                let character = match entity.resolve_char_ref().map_err(|error| malformed(&error))? {
                    Some(character) => character.to_string(),
                    None => predefined(&entity)?.to_owned(),
                };
                add(&mut open, &character)?;
            }
            Event::Decl(_) | Event::Comment(_) => {}
            Event::DocType(_) => return Err("XML with a document type is refused".to_owned()),
            Event::PI(_) => return Err("XML with a processing instruction is refused".to_owned()),
            Event::Eof => break,
            Event::Empty(_) => return Err("malformed XML".to_owned()),
        }
    }
    if !open.is_empty() {
        return Err("malformed XML: it ends within an element".to_owned());
    }
    let (name, value) = root.ok_or("malformed XML: there is no element")?;
    Ok(Value::Object(Map::from_iter([(name, value)])))
}

fn predefined(entity: &str) -> Result<&'static str, String> {
    match entity {
        "amp" => Ok("&"),
        "lt" => Ok("<"),
        "gt" => Ok(">"),
        "apos" => Ok("'"),
        "quot" => Ok("\""),
        _ => Err("XML with entities of its own is refused".to_owned()),
    }
}

/// Text counts in an element, and is white space outside of all.
fn add(open: &mut [Open], text: &str) -> Result<(), String> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err("malformed XML: text outside of the element".to_owned()),
    }
    Ok(())
}

impl Open {
    /// An element without content is nothing, unless it is a list or the outermost one.
    fn value(self, is_root: bool) -> Result<(String, Value), String> {
        let Self { name, text, children } = self;
        if !children.is_empty() && !text.trim().is_empty() {
            return Err(format!("{name}: text and elements side by side"));
        }
        let value = if let Some(item) = singular(&name).filter(|_| text.trim().is_empty()) {
            if let Some((other, _)) = children.iter().find(|(child, _)| child != item) {
                return Err(format!("{name}: its items are called {item}, not {other}"));
            }
            Value::Array(children.into_iter().map(|(_, value)| value).collect())
        } else if !children.is_empty() || (is_root && text.trim().is_empty()) {
            let mut fields = Map::new();
            for (field, value) in children {
                if fields.insert(field.clone(), value).is_some() {
                    return Err(format!("{name}.{field}: it is there twice"));
                }
            }
            Value::Object(fields)
        } else if text.is_empty() {
            Value::Null
        } else {
            Value::String(text.trim().to_owned())
        };
        Ok((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bodies_are_read() {
        for (text, expected) in [
            (
                "<?xml version='1.0'?><ip_block><cidr>10.0.0.0/8</cidr><type> private </type><dns1/></ip_block>",
                json!({"ip_block": {"cidr": "10.0.0.0/8", "type": "private", "dns1": null}}),
            ),
            ("<ip_address/>", json!({"ip_address": {}})),
            ("<network><addresses/></network>", json!({"network": {"addresses": []}})),
            (
                "<network><addresses><address>10.0.0.1</address></addresses></network>",
                json!({"network": {"addresses": ["10.0.0.1"]}}),
            ),
            (
                "<ip_addresses><ip_address><ip_block_id>a</ip_block_id><ip_address>b</ip_address></ip_address>\
                 </ip_addresses>",
                json!({"ip_addresses": [{"ip_block_id": "a", "ip_address": "b"}]}),
            ),
            (
                "<policy><name>a &amp; &#98; <![CDATA[<c>]]></name></policy>",
                json!({"policy": {"name": "a & b <c>"}}),
            ),
            (
                "<p:policy xmlns:p='x'><!-- c --><p:name>n</p:name></p:policy>",
                json!({"policy": {"name": "n"}}),
            ),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn hostile_xml_is_refused() {
        let deep = "<a>".repeat(100_000);
        let wide = format!("<a>{}</a>", "<b/>".repeat(ELEMENTS));
        for (text, reason) in [
            ("", "there is no element"),
            ("text", "outside"),
            ("<a>", "ends within"),
            ("<a></b>", "malformed"),
            ("<a/><b/>", "one root"),
            ("<a>&x;</a>", "entities of its own"),
            ("<a>&#x110000;</a>", "malformed"),
            ("<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>", "document type"),
            ("<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>", "document type"),
            ("<?php x?><a/>", "processing instruction"),
            ("<a><b>1</b><b>2</b></a>", "a.b: it is there twice"),
            ("<a>x<b/></a>", "side by side"),
            ("<ip_blocks><x/></ip_blocks>", "its items are called ip_block"),
            ("<a b></a", "malformed"),
            (deep.as_str(), "levels"),
            (wide.as_str(), "elements"),
        ] {
            let start: String = text.chars().take(60).collect();
            let error = read(text).expect_err(&start);
            assert!(error.contains(reason), "{start}: {error}");
        }
    }

    #[test]
    fn what_is_written_is_well_formed() {
        let body = json!({
            "ip_blocks": [{"id": "a<b", "gateway": null, "version": 4, "links": [{"rel": "self", "href": "/x?a&b"}]}],
            "ip_blocks_links": [{"rel": "next", "href": "/y"}],
        });
        let text = String::from_utf8(write(&Document::Body(body)).expect("written")).expect("text");
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ip_blocks><ip_block><gateway/><id>a&lt;b</id>\
                        <link rel=\"self\" href=\"/x?a&amp;b\"/><version>4</version></ip_block>\
                        <link rel=\"next\" href=\"/y\"/></ip_blocks>";
        assert_eq!(text, expected);
        let fault = Fault { code: 404, message: "m".to_owned(), detail: "IpBlock Not Found".to_owned() };
        let text = write(&Document::Fault("NotFound", fault)).expect("written");
        let text = String::from_utf8(text).expect("text");
        assert!(text.ends_with(
            "<NotFound code=\"404\"><message>m</message><detail>IpBlock Not Found</detail></NotFound>"
        ));
    }
}

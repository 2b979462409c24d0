//! Reads the notifications of a SOAP envelope (Salesforce outbound messages).

use roxmltree::{Document, Node};
use serde_json::{Map, Value};

use super::pick::Row;

/// Elements and attributes in an envelope; a hundred notifications of a wide object have far fewer.
const NODES_MAX: u32 = 100_000;

/// One row per notification. A pointer names an element inside `notifications`, or inside one `Notification`; the last
/// part `@type` stands for the type that the element before it names. No row when the body is no such envelope, or has a
/// document type: those are how XML reads files and eats memory.
pub(super) fn rows(body: &[u8], pointers: &[&str]) -> Vec<Row> {
    let Some(document) = document(body) else { return vec![] };
    let body = child(document.root_element(), "Body");
    let Some(notifications) = body.and_then(|body| child(body, "notifications")) else { return vec![] };
    let each = notifications.children().filter(|node| node.tag_name().name() == "Notification");
    each.map(|notification| pointers.iter().map(|pointer| value(notifications, notification, pointer)).collect())
        .collect()
}

/// The first notification as JSON: its fields, those of its record under `sObject`, and those of the whole message.
pub(super) fn first(body: &[u8]) -> Option<Value> {
    let document = document(body)?;
    let notifications = child(child(document.root_element(), "Body")?, "notifications")?;
    let notification = child(notifications, "Notification")?;
    let record = child(notification, "sObject")?;
    let mut fields = texts(record);
    let kind =
        record.attributes().find(|attribute| attribute.name() == "type").map(|attribute| local(attribute.value()));
    fields.extend(kind.map(|kind| ("@type".to_owned(), kind.into())));
    let mut message = texts(notifications);
    message.extend(texts(notification));
    message.insert("sObject".to_owned(), Value::Object(fields));
    Some(Value::Object(message))
}

fn document(body: &[u8]) -> Option<Document<'_>> {
    let options = roxmltree::ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..Default::default() };
    Document::parse_with_options(std::str::from_utf8(body).ok()?, options).ok()
}

/// The elements of a node that hold text.
fn texts(node: Node<'_, '_>) -> Map<String, Value> {
    let field = |field: Node<'_, '_>| Some((field.tag_name().name().to_owned(), Value::from(field.text()?.trim())));
    node.children().filter(Node::is_element).filter_map(field).collect()
}

/// A name without its prefix.
fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

fn value(notifications: Node<'_, '_>, notification: Node<'_, '_>, pointer: &str) -> Option<String> {
    let mut parts = pointer.split('/').skip(1);
    let first = parts.next()?;
    let mut node = if first == "Notification" { notification } else { child(notifications, first)? };
    for part in parts {
        if part == "@type" {
            let name = node.attributes().find(|attribute| attribute.name() == "type")?.value();
            return Some(local(name).to_owned());
        }
        node = child(node, part)?;
    }
    node.text().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.tag_name().name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTERS: [&str; 3] = ["/OrganizationId", "/Notification/Id", "/Notification/sObject/@type"];

    fn envelope(inside: &str) -> String {
        format!(
            "<e:Envelope xmlns:e='e'><e:Body><notifications xmlns='o'>{inside}</notifications></e:Body></e:Envelope>"
        )
    }

    #[test]
    fn each_notification_is_a_row() {
        let one =
            |id: &str| format!("<Notification><Id>{id}</Id><sObject xmlns:x='x' x:type='sf:Lead'/></Notification>");
        let body = envelope(&format!("<OrganizationId> 00D1 </OrganizationId>{}{}", one("a"), one("b")));
        let row = |id: &str| vec![Some("00D1".to_owned()), Some(id.to_owned()), Some("Lead".to_owned())];
        assert_eq!(rows(body.as_bytes(), &POINTERS), vec![row("a"), row("b")]);
    }

    #[test]
    fn what_is_no_envelope_has_no_rows() {
        let bomb = format!("<!DOCTYPE e [<!ENTITY a 'b'>]>{}", envelope("<Notification/>"));
        for body in ["", "{}", "<a/>", "<e><Body/></e>", &bomb, &envelope("<OrganizationId>x</OrganizationId>")] {
            assert!(rows(body.as_bytes(), &POINTERS).is_empty(), "{body}");
        }
        let elsewhere = "<e><Body><notifications><Notification><OrganizationId>x</OrganizationId></Notification></notifications></Body></e>";
        assert_eq!(rows(elsewhere.as_bytes(), &POINTERS), vec![vec![None, None, None]]);
    }
}

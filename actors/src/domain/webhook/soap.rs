//! Reads the notifications of a SOAP envelope (Salesforce outbound messages).

use bytes::Bytes;
use roxmltree::{Document, Node};
use serde_json::{Map, Value};

use super::pick::Row;

/// Elements and attributes in an envelope; a hundred notifications of a wide object have far fewer.
const NODES_MAX: u32 = 100_000;

/// How deep records are nested inside notifications: a record, and records it refers to.
const DEPTH_MAX: usize = 4;

/// One row per notification. A pointer names an element inside `notifications`, or inside one `Notification`; the last
/// part `@type` stands for the type that the element before it names. No row when the body is no such envelope.
pub(super) fn rows(body: &[u8], pointers: &[&str]) -> Vec<Row> {
    let rows = each(body, |notifications, notification| {
        pointers.iter().map(|pointer| value(notifications, notification, pointer)).collect()
    });
    rows.unwrap_or_default()
}

/// Each notification as JSON: its own elements beside those that all of them share. Not the session: whoever has it may
/// act in the sender's name. None when the body is no such envelope.
pub(super) fn items(body: &[u8]) -> Option<Vec<Bytes>> {
    each(body, |notifications, notification| {
        let is_shared = |node: &Node<'_, '_>| !matches!(node.tag_name().name(), "Notification" | "SessionId");
        let mut fields = Map::new();
        let shared = notifications.children().filter(|node| node.is_element() && is_shared(node));
        for node in shared.chain(notification.children().filter(Node::is_element)) {
            fields.insert(node.tag_name().name().to_owned(), to_json(node, DEPTH_MAX));
        }
        Value::Object(fields).to_string().into()
    })
}

/// What `of` makes of each notification. None for what is no envelope, or has a document type: those are how XML reads
/// files and eats memory.
fn each<T>(body: &[u8], of: impl Fn(Node<'_, '_>, Node<'_, '_>) -> T) -> Option<Vec<T>> {
    let document = document(body)?;
    let notifications = child(child(document.root_element(), "Body")?, "notifications")?;
    let each = notifications.children().filter(|node| node.tag_name().name() == "Notification");
    Some(each.map(|notification| of(notifications, notification)).collect())
}

/// An element with elements in it is an object, any other a text; one that says that it is nothing is null.
fn to_json(node: Node<'_, '_>, depth: usize) -> Value {
    let mut fields = Map::new();
    for attribute in node.attributes() {
        match attribute.name() {
            "nil" if attribute.value() == "true" => return Value::Null,
            "type" => drop(fields.insert("@type".to_owned(), local(attribute.value()).into())),
            _ => {}
        }
    }
    let elements = node.children().filter(Node::is_element);
    for child in elements.filter(|_| depth > 0) {
        let value = to_json(child, depth - 1);
        match fields.get_mut(child.tag_name().name()) {
            // Again the same name: a list.
            Some(Value::Array(list)) => list.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
            None => drop(fields.insert(child.tag_name().name().to_owned(), value)),
        }
    }
    if fields.keys().all(|name| name == "@type") && node.text().is_some_and(|text| !text.trim().is_empty()) {
        return node.text().unwrap_or_default().trim().into();
    }
    if fields.is_empty() { "".into() } else { Value::Object(fields) }
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
    use serde_json::json;

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

    #[test]
    fn a_notification_is_json_for_playbooks_without_the_session() {
        let notification = "<Notification><Id> n1 </Id><sObject xmlns:x='x' x:type='sf:Lead' xmlns:s='s'><s:Id>00Q</s:Id>
            <s:Email x:nil='true'/><s:Tag>a</s:Tag><s:Tag>b</s:Tag><s:Tag>c</s:Tag><s:Owner><s:Name>Jo</s:Name></s:Owner>
            </sObject></Notification>";
        let body = envelope(&format!(
            "<OrganizationId>00D1</OrganizationId><SessionId>secret</SessionId><Empty/>{notification}<Notification/>"
        ));
        let items = items(body.as_bytes()).unwrap();
        let of = |item: &Bytes| serde_json::from_slice::<Value>(item).unwrap();
        let record =
            json!({"@type": "Lead", "Id": "00Q", "Email": null, "Tag": ["a", "b", "c"], "Owner": {"Name": "Jo"}});
        assert_eq!(of(&items[0]), json!({"OrganizationId": "00D1", "Empty": "", "Id": "n1", "sObject": record}));
        assert_eq!((of(&items[1]), items.len()), (json!({"OrganizationId": "00D1", "Empty": ""}), 2));
    }

    #[test]
    fn what_nests_deeper_than_any_record_is_cut_off() {
        let deep = format!("{}{}", "<a>".repeat(500), "</a>".repeat(500));
        let items = items(envelope(&format!("<Notification>{deep}</Notification>")).as_bytes());
        assert!(items.is_none_or(|items| items[0].len() < 100));
    }
}

//! Where each method of the API is answered, and what it does to call it again. A test compares this with the contracts.

use super::super::forward::{Effect, Route};

use Effect::{Keyed, Once, Read, Repeatable};

/// Every method. Those that are led name their account in field 1.
#[rustfmt::skip]
const METHODS: [(&str, Route); 72] = [
    ("/steward.account.v1.AccountService/CreateAccount", Route::Leader(Keyed)),
    ("/steward.account.v1.AccountService/GetAccount", Route::Leader(Read)),
    // What it is about is spread over all nodes.
    ("/steward.account.v1.AccountService/ListAccounts", Route::Here),
    // Its secret is told once and kept nowhere, so a second answer could not tell it.
    ("/steward.account.v1.AccountService/CreateApiKey", Route::Leader(Once)),
    ("/steward.account.v1.AccountService/ListApiKeys", Route::Leader(Read)),
    ("/steward.account.v1.AccountService/RevokeApiKey", Route::Leader(Keyed)),
    ("/steward.account.v1.AccountService/PutPlaybook", Route::Leader(Keyed)),
    ("/steward.account.v1.AccountService/ListPlaybooks", Route::Leader(Read)),
    ("/steward.account.v1.AccountService/DeletePlaybook", Route::Leader(Keyed)),
    // Setting what is set already changes nothing.
    ("/steward.account.v1.AccountService/SetTaskLimits", Route::Leader(Repeatable)),
    ("/steward.account.v1.AccountService/SetBudgets", Route::Leader(Repeatable)),
    ("/steward.webhook.v1.WebhookService/CreateSource", Route::Leader(Keyed)),
    ("/steward.webhook.v1.WebhookService/ListSources", Route::Leader(Read)),
    ("/steward.webhook.v1.WebhookService/DeleteSource", Route::Leader(Keyed)),
    ("/steward.webhook.v1.WebhookService/UpdateSource", Route::Leader(Keyed)),
    ("/steward.webhook.v1.WebhookService/AddSourceSecret", Route::Leader(Keyed)),
    ("/steward.webhook.v1.WebhookService/RetireSourceSecret", Route::Leader(Keyed)),
    ("/steward.webhook.v1.WebhookService/PauseSource", Route::Leader(Keyed)),
    ("/steward.webhook.v1.WebhookService/ResumeSource", Route::Leader(Keyed)),
    ("/steward.webhook.v1.WebhookService/TestSource", Route::Leader(Read)),
    ("/steward.webhook.v1.WebhookService/ListRefusedRequests", Route::Leader(Read)),
    // Each of its commands has a key made of the call's.
    ("/steward.webhook.v1.WebhookService/ReprocessRequests", Route::Leader(Keyed)),
    // Its secret may be made here and told once.
    ("/steward.webhook.v1.WebhookService/CreateEndpoint", Route::Leader(Once)),
    ("/steward.webhook.v1.WebhookService/ListEndpoints", Route::Leader(Read)),
    ("/steward.webhook.v1.WebhookService/GetEndpoint", Route::Leader(Read)),
    // Setting what is set already changes nothing.
    ("/steward.webhook.v1.WebhookService/UpdateEndpoint", Route::Leader(Repeatable)),
    ("/steward.webhook.v1.WebhookService/DeleteEndpoint", Route::Leader(Keyed)),
    ("/steward.webhook.v1.WebhookService/RotateEndpointSecret", Route::Leader(Once)),
    ("/steward.webhook.v1.WebhookService/PauseEndpoint", Route::Leader(Repeatable)),
    ("/steward.webhook.v1.WebhookService/ResumeEndpoint", Route::Leader(Repeatable)),
    ("/steward.webhook.v1.WebhookService/TestEndpoint", Route::Leader(Once)),
    ("/steward.webhook.v1.WebhookService/ListDeliveries", Route::Leader(Read)),
    ("/steward.webhook.v1.WebhookService/ResendDelivery", Route::Leader(Keyed)),
    ("/steward.webhook.v1.WebhookService/RecoverDeliveries", Route::Leader(Keyed)),
    ("/steward.webhook.v1.WebhookService/RedriveDeliveries", Route::Leader(Once)),
    ("/steward.job.v1.JobService/CreateJob", Route::Leader(Keyed)),
    ("/steward.job.v1.JobService/GetJob", Route::Leader(Read)),
    ("/steward.job.v1.JobService/ListJobs", Route::Leader(Read)),
    ("/steward.job.v1.JobService/CancelJob", Route::Leader(Keyed)),
    ("/steward.job.v1.JobService/PauseJob", Route::Leader(Repeatable)),
    ("/steward.job.v1.JobService/ResumeJob", Route::Leader(Repeatable)),
    ("/steward.job.v1.JobService/RestartJob", Route::Leader(Keyed)),
    ("/steward.job.v1.JobService/RedriveJobs", Route::Leader(Once)),
    // Slots and turns are the leader's.
    ("/steward.job.v1.JobService/ExplainTask", Route::Leader(Read)),
    ("/steward.job.v1.JobService/ReadBlob", Route::Leader(Read)),
    // Uploads are passed on as they come (`http/upload/`), not kept to be made again.
    ("/steward.blob.v1.BlobService/CreateUpload", Route::Here),
    ("/steward.blob.v1.BlobService/GetUpload", Route::Here),
    ("/steward.blob.v1.BlobService/EndUpload", Route::Here),
    ("/steward.blob.v1.BlobService/UploadBlob", Route::Here),
    ("/steward.blob.v1.BlobService/CreateBlobLink", Route::Leader(Read)),
    ("/steward.schedule.v1.ScheduleService/CreateSchedule", Route::Leader(Keyed)),
    ("/steward.schedule.v1.ScheduleService/GetSchedule", Route::Leader(Read)),
    ("/steward.schedule.v1.ScheduleService/ListSchedules", Route::Leader(Read)),
    // The same settings again begin at the same tick.
    ("/steward.schedule.v1.ScheduleService/UpdateSchedule", Route::Leader(Repeatable)),
    ("/steward.schedule.v1.ScheduleService/PauseSchedule", Route::Leader(Repeatable)),
    ("/steward.schedule.v1.ScheduleService/ResumeSchedule", Route::Leader(Repeatable)),
    ("/steward.schedule.v1.ScheduleService/DeleteSchedule", Route::Leader(Keyed)),
    ("/steward.schedule.v1.ScheduleService/PreviewSchedule", Route::Leader(Read)),
    ("/steward.event.v1.EventService/Subscribe", Route::Replica),
    ("/steward.event.v1.EventService/ListEvents", Route::Leader(Read)),
    // A cursor is set to where it is already.
    ("/steward.event.v1.EventService/AckConsumer", Route::Leader(Repeatable)),
    ("/steward.event.v1.EventService/GetConsumer", Route::Leader(Read)),
    // What they are about is spread over all nodes.
    ("/steward.event.v1.EventService/SubscribeAll", Route::Here),
    ("/steward.event.v1.EventService/AckAllConsumer", Route::Here),
    ("/steward.event.v1.EventService/GetAllConsumer", Route::Here),
    ("/steward.admin.v1.AdminService/GetNode", Route::Here),
    ("/steward.admin.v1.AdminService/ListShards", Route::Here),
    // Quarantine is known to the leader, and to it only.
    ("/steward.admin.v1.AdminService/ResumeAccount", Route::Leader(Once)),
    ("/steward.admin.v1.AdminService/ListTasks", Route::Here),
    ("/steward.admin.v1.AdminService/GetCluster", Route::Here),
    ("/steward.admin.v1.AdminService/FinalizeCluster", Route::Here),
    ("/steward.admin.v1.AdminService/DrainNode", Route::Here),
];

/// Where a method is answered. What is not ours, such as health and reflection, is answered by any node.
pub(super) fn route_of(path: &str) -> Route {
    METHODS.iter().find(|(method, _)| *method == path).map_or(Route::Here, |(_, route)| *route)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;
    use prost_types::field_descriptor_proto::Type;

    use super::*;

    /// Every method of our services, and whether field 1 of its request is the account.
    fn contracts() -> Vec<(String, bool)> {
        let set = FileDescriptorSet::decode(steward_proto::DESCRIPTORS).unwrap();
        let services = set.file.iter().flat_map(|file| file.service.iter().map(move |service| (file, service)));
        services
            // What nodes say to each other is not for clients, and has a port of its own.
            .filter(|(file, _)| file.package().starts_with("steward.") && file.package() != "steward.peer.v1")
            .flat_map(|(file, service)| {
                service.method.iter().map(move |method| {
                    let wanted = method.input_type().rsplit('.').next().unwrap();
                    let input = file.message_type.iter().find(|message| message.name() == wanted).unwrap();
                    let account = |field: &&prost_types::FieldDescriptorProto| {
                        field.number() == 1 && field.name() == "account_id" && field.r#type() == Type::String
                    };
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let is_kept = route_of(&path) != Route::Here;
                    assert!(
                        !(is_kept && method.client_streaming()),
                        "{path} sends a stream, which cannot be kept to send it again"
                    );
                    (path, input.field.iter().any(|field| account(&field)))
                })
            })
            .collect()
    }

    #[test]
    fn every_method_has_its_place_and_names_its_account_first() {
        let contracts = contracts();
        let known: BTreeSet<&str> = METHODS.iter().map(|(path, _)| *path).collect();
        let offered: BTreeSet<&str> = contracts.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(known, offered);
        for (path, names_account) in &contracts {
            let is_of_upload = path.starts_with("/steward.blob.v1.") && path.contains("Upload");
            assert_eq!(route_of(path) != Route::Here, *names_account && !is_of_upload, "{path}");
        }
        assert_eq!(route_of("/grpc.health.v1.Health/Check"), Route::Here);
    }
}

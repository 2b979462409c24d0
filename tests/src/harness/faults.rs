//! What breaks a cluster under test: nodes and etcd that are killed, paused, cut from their power, or wiped.

use std::process::ExitStatus;

use super::cluster::{Cluster, Standing};
use super::disk::Disk;

impl Cluster {
    pub fn kill(&mut self, id: u64) {
        let (node, standing) = self.entry(id);
        node.kill();
        *standing = Standing::Down;
        self.tell();
    }

    /// Pulls the plug of some nodes at once: they say nothing from one moment on, and what they had not synced is gone.
    /// Their disks are back when this returns.
    pub fn cut_power(&mut self, ids: &[u64]) {
        // A disk that is shut down under a running node lets a sync in flight succeed in vain; a real one tells nobody.
        ids.iter().for_each(|id| self.node(*id).freeze());
        ids.iter().for_each(|id| self.disk(*id).cut_power());
        for id in ids {
            self.kill(*id);
            self.disk(*id).comes_back();
        }
    }

    /// What a node keeps its data on.
    #[must_use]
    pub fn disk(&self, id: u64) -> &Disk {
        let at = usize::try_from(id - 1).expect("there are few nodes");
        self.disks.get(at).expect("the cluster was started on disks")
    }

    /// Waits for a node to end by itself.
    pub async fn ends(&mut self, id: u64) -> ExitStatus {
        let (node, standing) = self.entry(id);
        *standing = Standing::Down;
        let ended = node.ends().await;
        self.tell();
        ended
    }

    /// Starts a node that was stopped over its data.
    pub fn restart(&mut self, id: u64) {
        let (node, standing) = self.entry(id);
        node.restart();
        *standing = Standing::Up;
        self.tell();
    }

    /// SIGSTOP. Clients do not know.
    pub fn pause(&mut self, id: u64) {
        let (node, standing) = self.entry(id);
        node.pause();
        *standing = Standing::Paused;
    }

    pub fn go_on(&mut self, id: u64) {
        let (node, standing) = self.entry(id);
        node.go_on();
        *standing = Standing::Up;
    }

    /// SIGTERM; waits for a good end.
    pub async fn terminate(&mut self, id: u64) {
        let (node, standing) = self.entry(id);
        *standing = Standing::Down;
        let ended = node.terminate().await;
        assert!(ended.success(), "node {id} ended with {ended}");
        self.tell();
    }

    /// The same, and by its own word others led all its shards before it ended. Asking the others would see each at
    /// another moment, and a leadership that moves on between two of them nowhere.
    pub async fn hand_over(&mut self, id: u64) {
        self.terminate(id).await;
        let told = self.entry(id).0.last_logged("led here");
        assert_eq!(told.as_deref(), Some("others lead what was led here"), "of node {id}");
    }

    /// Lets go of a node that is stopped, with its data.
    pub fn forget(&mut self, id: u64) {
        let (node, _) = self.nodes.remove(&id).expect("the node is one of the cluster");
        assert!(!node.is_running(), "node {id} is running");
        self.drained.remove(&id);
    }

    /// SIGKILL to each member of etcd, and its restart.
    pub fn restart_etcd(&mut self) {
        for member in 0..self.shape.etcd {
            self.etcd.kill(member);
            self.etcd.restart(member);
        }
    }

    /// Etcd forgets everything.
    pub fn wipe_etcd(&mut self) {
        (0..self.shape.etcd).for_each(|member| self.etcd.kill(member));
        for member in 0..self.shape.etcd {
            self.etcd.wipe(member);
            self.etcd.restart(member);
        }
    }

    /// Writes what a node remembers of the cluster back into etcd.
    pub fn rebuild(&self, id: u64) {
        let output = self.node(id).beside(&["ctl", "cluster", "rebuild"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// SIGSTOP to every member of etcd.
    pub fn pause_etcd(&self) {
        (0..self.shape.etcd).for_each(|member| self.etcd.pause(member));
    }

    pub fn etcd_goes_on(&self) {
        (0..self.shape.etcd).for_each(|member| self.etcd.go_on(member));
    }
}

"""Proof, before the model loads, that the pods of a group reach each other, and fast enough.

An init container of every pod runs it. Rank 0 coordinates; all ranks, itself included, are members that connect to it
and do what it says, so that every check has one order and one deadline:

1. every member finds its interface and its RDMA devices (:mod:`.wiring`), finds rank 0 by name, and reports;
2. when all have, each resolves the names of all: a missing record and one that points elsewhere are told apart;
3. each connects to every other on every port that the group will use;
4. every pair is measured, latency and bandwidth in each direction, in rounds of pairs that share no pod, so that none
   disturbs another (:mod:`.schedule`);
5. with GPUs, one NCCL all-reduce over all of them (:mod:`.all_reduce`);
6. rank 0 tells everyone the verdict. On failure the rank that most of the bad links have in common ends first, so that
   its pod and node are taken for the cause.

What needs waiting is waited for with growing pauses: a pod that isn't there yet, as long as ranks may take to join; a
DNS record, or an answer from a machine that is there, for :data:`~.links.PATIENCE` seconds.
"""

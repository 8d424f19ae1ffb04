#!/usr/bin/env bash
# A Slurm of one node on this machine, from Debian's packages, as root and without systemd; a running one is left as it is.
set -euo pipefail
if sinfo -h >/dev/null 2>&1; then exit 0; fi
state=/tmp/circuitlang-slurm
mkdir -p "$state/state" "$state/spool" /run/munge /etc/slurm
chown munge /run/munge
cat >/etc/slurm/slurm.conf <<CONF
ClusterName=circuitlang
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation=$state/state
SlurmdSpoolDir=$state/spool
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
# Nodes have as many processors as is written here: two jobs at a time on any machine.
SlurmdParameters=config_overrides
MpiDefault=none
SwitchType=switch/none
SchedulerParameters=sched_interval=1,batch_sched_delay=0
MinJobAge=60
MaxArraySize=1001
NodeName=localhost NodeAddr=127.0.0.1 CPUs=4 RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE
CONF
# Slurm 22.05 looks for a hierarchy of cgroups, which a container may lack.
echo CgroupPlugin=cgroup/v1 >/etc/slurm/cgroup.conf
pgrep -x munged >/dev/null || runuser -u munge -- munged
# A cluster that failed before must not leave its node drained.
slurmctld -c </dev/null >/dev/null 2>&1
slurmd -N localhost </dev/null >/dev/null 2>&1
for _ in $(seq 100); do
  if sinfo -h -o %T | grep -q idle; then exit 0; fi
  sleep .2
done
echo "no node became idle:" >&2
tail "$state"/*.log >&2
exit 1

#!/bin/bash
# One study by several workers of a Slurm array, each on a GPU of its own. They meet in PostgreSQL (docs/workers.md):
#
#   export L2M_STORAGE=postgresql://l2m:PASSWORD@HOST/l2m
#   sbatch configs/slurm-array.sh configs/quickstart.yaml
#
# The first task plans the study and works too; the others join it, whichever starts first. A task that was lost or
# requeued goes on; the whole array submitted again goes on where the study was.
#SBATCH --job-name=l2m
#SBATCH --array=0-3
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-task=1
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=l2m-%A-%a.log
set -euo pipefail

study=${1:?say which study, as configs/quickstart.yaml}
: "${L2M_STORAGE:?say where PostgreSQL is, as postgresql://user:password@host/name}"
patience=${L2M_PATIENCE:-1800}  # seconds in which the first task must have planned the study
name=${L2M_STUDY:-$(sed -n 's/^name: *//p' "$study")}
threads=${SLURM_CPUS_PER_TASK:-1}
task=${SLURM_ARRAY_TASK_ID:-0}

if [ "$task" -eq 0 ]; then
  exec l2m search "$study" --storage "$L2M_STORAGE" --set "name=$name" --set "threads=$threads"
fi
began=$SECONDS
until said=$(l2m worker --study "$name" --storage "$L2M_STORAGE" --threads "$threads" --index "$task" 2>&1 >&3); do
  printf '%s\n' "$said" >&2
  case $said in
    *": not in "* | *"not planned yet"*) ;;  # too early
    *) exit 1 ;;
  esac
  if [ $((SECONDS - began)) -ge "$patience" ]; then
    exit 1
  fi
  sleep "${L2M_PAUSE:-15}"
done 3>&1
if [ -n "$said" ]; then printf '%s\n' "$said" >&2; fi

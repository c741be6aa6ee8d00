/**
 * All attacks at once against the installed service, with the limits of its unit in force: the same process stays below them, and
 * the job and the owner are answered. PAB_ATTACK_SECONDS makes it longer.
 */
import t from 'tap'
import { installPackage, installProgram, READY, runSession, whyNoManager } from '../fixtures/user-session.js'

const skip = whyNoManager() ?? false
const seconds = Number(process.env.PAB_ATTACK_SECONDS ?? 15)

/** Puts the daemon below the limits of its unit, if systemd could not: prints who did, and what they are. */
const LIMIT = `
limit() {
  local group=/sys/fs/cgroup$(cut -d: -f3 /proc/$(pid)/cgroup | tail -1)
  local most=$(systemctl --user show -P MemoryMax prefect-authd.service) tasks=$(systemctl --user show -P TasksMax prefect-authd.service)
  if [ -e "$group/memory.max" ]; then say limits "systemd $(cat "$group/memory.max") $(cat "$group/pids.max")"; return; fi
  echo "$most" >/mnt/memory/memory.limit_in_bytes; echo "$tasks" >/mnt/pids/pids.max
  echo "$(pid)" >/mnt/memory/cgroup.procs; echo "$(pid)" >/mnt/pids/cgroup.procs
  say limits "test $(cat /mnt/memory/memory.limit_in_bytes) $(cat /mnt/pids/pids.max)"
}
`

t.test(`all attacks at once for ${seconds} s`, { skip, timeout: (seconds + 120) * 1000 }, async (t) => {
  const home = installPackage(t)
  await installProgram(home, 'test/e2e/fixtures/all-attacks.ts', 'all-attacks.mjs')
  const { stdout, stderr } = await runSession(
    home,
    `${LIMIT}
     ${READY}
     ulimit -n 4096
     JOB=$(prefect-auth token create --name job 2>/dev/null) BAD=$(prefect-auth token create --name bad 2>/dev/null)
     export JOB BAD S
     run() { env SECONDS=${seconds} node ~/all-attacks.mjs "$1"; }
     run upstream >up.txt & upstream=$!
     until grep -q up up.txt; do sleep 0.05; done
     limit; before=$(pid)
     run attack >attack.txt 2>attack.err & attack=$!
     run owner >owner.txt & owner=$!
     run job >job.txt; wait $owner
     prefect-auth doctor >doctor.txt; prefect-auth metrics >metrics.txt; prefect-auth status >status.txt
     wait $attack; kill $upstream
     say pid "$([ "$before" = "$(pid)" ] && echo same)"; say restarts "$(systemctl --user show -P NRestarts prefect-authd.service)"
     say peak "$(awk '/VmHWM/ { print $2 * 1024 }' /proc/$before/status)"; say high "$(systemctl --user show -P MemoryHigh prefect-authd.service)"
     say backlog "$(ss -ltnH 'sport = :4280' | awk '{ print $3 }')"; say most "$(cat /proc/sys/net/core/somaxconn)"
     say audit "$(cat ~/.local/state/prefect-auth/audit*.jsonl* | wc -c)"; say relayed "$(cat relayed.txt 2>/dev/null | wc -l)"
     say job "$(cat job.txt)"; say owner "$(cat owner.txt)"; say tried "$(cat attack.txt attack.err)"
     say doctor "$(grep connections doctor.txt)"; say metrics "$(grep '_closed_total.*of="strangers"' metrics.txt)"
     say status "$(tr '\n' ' ' <status.txt)"`,
    { LIMITS: '1' },
    (seconds + 100) * 1000,
  )
  const facts = new Map(stdout.split('\n').map((line) => [line.split(': ')[0], line.replace(/^\w+: /, '')]))
  const numberOf = (name: string) => Number(facts.get(name))
  t.match(facts.get('limits'), /^(systemd|test) 805306368 128$/, `the limits are in force ${stderr}`)
  t.equal(facts.get('pid'), 'same')
  t.equal(facts.get('restarts'), '0')
  t.ok(numberOf('peak') > 0 && numberOf('peak') < numberOf('high'), `peak memory ${facts.get('peak')}`)
  t.equal(
    numberOf('backlog'),
    Math.min(4096, numberOf('most')),
    'the kernel keeps a crowd waiting, and drops nobody',
  )
  t.ok(numberOf('audit') < 1_000_000, `the audit does not grow with the attack: ${facts.get('audit')} bytes`)
  t.equal(facts.get('relayed'), '0', 'nothing was sent on for somebody without a token')
  for (const who of ['job', 'owner']) {
    const { asked, lost, failures } = JSON.parse(facts.get(who) ?? '{}')
    t.ok(asked > 2 && lost === 0, `${who}: ${facts.get(who)}`)
    t.same(failures, [], `${who}: each was answered at the first try`)
  }
  const tried = Object.entries(JSON.parse(facts.get('tried') ?? '{}'))
  t.equal(tried.length, 13)
  for (const [name, count] of tried) t.ok(Number(count) >= 2, `${name}: ${count}`)
  t.match(facts.get('doctor'), /tcp listener was full .* mostly of connections without a token/)
  t.match(facts.get('metrics'), /listener="tcp",of="strangers"} [1-9]/)
  t.match(facts.get('status'), /by 'bad': .*refused .*requests without a valid token refused/)
  if (process.env.PAB_ATTACK_SECONDS !== undefined) process.stderr.write(stdout)
})

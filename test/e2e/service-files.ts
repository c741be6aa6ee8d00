/** Kept files on a real `systemd --user`: the sandbox of the service is opened for their directories, and for no others. */
import t, { type Test } from 'tap'
import {
  installPackage,
  installSimulator,
  runSession,
  type Session,
  whyNoManager,
} from '../fixtures/user-session.js'

t.setTimeout(900_000)
t.jobs = 3
const skip = whyNoManager() ?? false
const home = skip === false ? installPackage(t) : ''
if (skip === false) await installSimulator(home)

const BEGIN = `
  D=~/.config/systemd/user/prefect-authd.service.d/files.conf
  node ~/sim.mjs --port 4999 >~/sim.txt 2>&1 & until grep -qs pnu_ ~/sim.txt; do sleep 0.1; done
  eval "$(grep ^export ~/sim.txt)"
  install() { prefect-auth service install --yes >~/install.txt 2>&1 || { cat ~/install.txt "$XDG_RUNTIME_DIR"/authd.log >&2; exit 9; }; }
  login() { grep -o 'pnu_[A-Za-z0-9_]*' ~/sim.txt | prefect-auth login -p cloud --key-stdin --exchange >~/login.txt 2>&1 || cat ~/login.txt >&2
    prefect-auth profile use cloud >/dev/null; }
  key() { prefect-auth get key -p cloud; }
  becomes() { for _ in $(seq 300); do "$@" && return; sleep 0.1; done; return 1; }
  has() { grep -qsF "$(key)" "$1"; }
  gone() { [ ! -e "$1" ]; }
  there() { [ -e "$1" ] && echo yes || echo no; }
`

function said(t: Test, { stdout, stderr, code }: Session): (name: string) => string | undefined {
  if (code !== 0 || stderr !== '') t.comment(`exit ${code}\n${stdout}\n${stderr}`)
  const pairs = stdout.split('\n').map((line): [string, string] => {
    const at = line.indexOf(': ')
    return [line.slice(0, at), line.slice(at + 2)]
  })
  const facts = new Map(pairs)
  return (name) => facts.get(name)
}

t.test('a kept file is written, renewed and removed, and no request fails meanwhile', { skip }, async (t) => {
  const session = await runSession(
    home,
    `${BEGIN} install; login
     A=~/"app/it's 100% of \\"a\\" \\$b\\\\c"; mkdir -p "$A"; F=$A/.env.prefect
     (while [ ! -e ~/end ]; do key >/dev/null 2>~/asked.err || echo failed; done >~/asked.txt) &
     prefect-auth file add "$F" --what env >~/add.txt 2>~/add.err </dev/null; say add $?; touch ~/end; wait %2
     say out "$(cat ~/add.txt)"; say lines "$(wc -l <~/add.err)"; say err "$(cat ~/add.err)"; say failed "$(wc -l <~/asked.txt)"
     say mode "$(stat -c %a "$F")"; say first "$(has "$F" && echo yes)"; say opened "$(grep -c ^ReadWritePaths= "$D")"
     prefect-auth renew --now -p cloud >/dev/null 2>&1; say renewed "$(becomes has "$F" && echo yes)"
     P=$(pid); prefect-auth file add "$A/key" --what key >/dev/null 2>~/second.err; say second "$? $(wc -c <~/second.err)"
     install; say same "$([ "$(pid)" = "$P" ] && echo yes)"; say kept "$(there "$D")"
     say status "$(prefect-auth service status | grep -c 'out of date')"
     prefect-auth file rm "$A/key" >/dev/null; say one "$(there "$D")"
     say outside "$(prefect-auth logout -p cloud >/dev/null 2>&1; becomes gone "$F" && echo removed)"
     prefect-auth file rm "$F" >/dev/null; say none "$(there "$D")"
     say loaded "$(systemctl --user show -P ReadWritePaths prefect-authd.service | grep -c app)"
     say still "$(prefect-auth status --json | grep -c '"daemon"')"`,
    {},
    600_000,
  )
  const fact = said(t, session)
  t.equal(fact('add'), '0')
  t.match(fact('out'), / is kept up to date$/)
  t.equal(fact('lines'), '1')
  t.match(fact('err'), /^the service may now write to .*; restarted it$/)
  t.equal(fact('failed'), '0', 'the sockets stay open')
  t.equal(fact('mode'), '600')
  t.equal(fact('first'), 'yes')
  t.equal(fact('opened'), '1')
  t.equal(fact('renewed'), 'yes')
  t.equal(fact('second'), '0 0', 'another file there needs nothing')
  t.equal(fact('same'), 'yes', 'nor does another installation')
  t.equal(fact('kept'), 'yes')
  t.equal(fact('status'), '0')
  t.equal(fact('one'), 'yes', 'one file is still there')
  t.equal(fact('outside'), 'removed')
  t.equal(fact('none'), 'no')
  t.equal(fact('loaded'), '0')
  t.equal(fact('still'), '1')
})

t.test(
  'added before the login; doctor names what cannot be written, and its command helps',
  { skip },
  async (t) => {
    const session = await runSession(
      home,
      `${BEGIN} install; mkdir -p ~/app ~/other; F=~/app/key; prefect-auth profile create cloud >/dev/null
     say json "$(prefect-auth file add "$F" --what key -p cloud --json 2>/dev/null </dev/null | tr -d ' \\n' | grep -o '"state":"[a-z]*"')"
     login; say first "$(becomes has "$F" && echo yes)"; say ok "$(prefect-auth doctor | grep -c 'kept files')"
     rm -r ~/app; systemctl --user restart prefect-authd.service; say started "$(is prefect-authd.service)"
     mkdir ~/app; prefect-auth doctor >~/doctor.txt 2>&1; say names "$(grep -c "cannot write $F" ~/doctor.txt)"
     T=$(grep -o "prefect-auth file add [^;)]*" ~/doctor.txt | head -1); say told "$T"
     sh -c "$T" >/dev/null 2>~/told.err; say helped $?; say again "$(becomes has "$F" && echo yes)"
     say after "$(prefect-auth doctor | grep -c "cannot write $F")"
     prefect-auth service uninstall >~/removed.txt 2>&1; say uninstalled "$(there "$D")"; grep -c files.conf ~/removed.txt
     install; say back "$(there "$D")"; say works "$(prefect-auth renew --now -p cloud >/dev/null 2>&1; becomes has "$F" && echo yes)"
     prefect-auth uninstall --purge --yes >~/purge.txt 2>&1; say purged "$? $(there "$D") $(there "$F")"; say left "$(ls "$(dirname "$D")")"`,
      {},
      600_000,
    )
    const fact = said(t, session)
    t.equal(fact('json'), '"state":"absent"')
    t.equal(fact('first'), 'yes', 'the login writes it')
    t.equal(fact('ok'), '1')
    t.equal(fact('started'), 'active', 'a removed directory does not stop the daemon')
    t.equal(fact('names'), '1')
    t.match(fact('told'), /^prefect-auth file add .*app\/key --what key --profile cloud/)
    t.equal(fact('helped'), '0')
    t.equal(fact('again'), 'yes')
    t.equal(fact('after'), '0')
    t.equal(fact('uninstalled'), 'no')
    t.equal(fact('back'), 'yes', 'a new installation knows the files')
    t.equal(fact('works'), 'yes')
    t.equal(fact('purged'), '0 no no')
    t.equal(fact('left'), 'log.conf', 'what others put beside it stays')
  },
)

t.test(
  'what cannot be opened is refused by name, with what helps, and nothing is kept',
  { skip },
  async (t) => {
    const session = await runSession(
      home,
      `${BEGIN} install; login; mkdir -p ~/app
     prefect-auth file add ~/key --what key >~/home.txt 2>&1; say home "$? $(tr '\\n' ' ' <~/home.txt)"
     prefect-auth file add ~/.config/key --what key >~/config.txt 2>&1; say config "$? $(tr '\\n' ' ' <~/config.txt)"
     chmod 500 "$(dirname "$D")"
     prefect-auth file add ~/app/key --what key >~/denied.txt 2>&1; say denied "$? $(tr '\\n' ' ' <~/denied.txt)"
     chmod 700 "$(dirname "$D")"; say open "$(there "$D")"
     say listed "$(prefect-auth file ls)"
     prefect-auth service uninstall >/dev/null 2>&1
     systemd-run --user -q --unit=broker -p ProtectHome=read-only -p PrivateUsers=yes -p ReadWritePaths=-$HOME/.local/state \\
       -p ReadWritePaths=-$HOME/.prefect -p ReadWritePaths=-$XDG_RUNTIME_DIR -E PATH="$PATH" ~/prefix/bin/prefect-authd
     becomes prefect-auth status >/dev/null 2>&1
     prefect-auth file add ~/app/key --what key >~/other.txt 2>&1; say other "$? $(tr '\\n' ' ' <~/other.txt)"; say dropin "$(there "$D")"`,
      {},
      600_000,
    )
    const fact = said(t, session)
    t.match(fact('home'), /^1 .*cannot write \/home\/sdtest\/key: .*service.*\/home\/sdtest.*try: /)
    t.match(fact('config'), /^1 .*cannot write \/home\/sdtest\/\.config\/key: /)
    t.match(fact('denied'), /^1 .*cannot write .*files\.conf.*\/home\/sdtest\/app.*sandbox.*try: /)
    t.equal(fact('open'), 'no')
    t.equal(fact('listed'), 'No files')
    t.match(fact('other'), /^1 .*sandbox.*\/home\/sdtest\/app.*try: systemctl --user edit broker\.service/)
    t.equal(fact('dropin'), 'no')
  },
)

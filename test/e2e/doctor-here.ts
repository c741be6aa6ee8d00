/** `doctor` from outside the daemon: every finding is produced on a real `systemd --user`. */
import t from 'tap'
import { installPackage, READY, runSession, whyNoManager } from '../fixtures/user-session.js'

const skip = whyNoManager() ?? false
const home = skip === false ? installPackage(t) : ''

const doctor = (variables = '') =>
  `${variables} prefect-auth doctor --json >doctor.json 2>doctor.err; code=$?
   node -e 'for (const c of JSON.parse(require("fs").readFileSync("doctor.json")).checks) console.log([process.argv[1], c.name, c.verdict, c.finding, c.remedy ?? ""].join(" | "))' "$what"; echo "$what | code $code"`

/** Every case restores what it changed. */
const script = `
${READY}
what=healthy; ${doctor()}
what=linger; mkdir fake; printf '#!/bin/sh\\necho no\\n' >fake/loginctl; chmod +x fake/loginctl; ${doctor('PATH=$HOME/fake:$PATH')}
what=environment; ${doctor('PREFECT_API_URL=http://other PREFECT_API_KEY=pnu_other')}
what='no bus'; ${doctor('env -u DBUS_SESSION_BUS_ADDRESS -u XDG_RUNTIME_DIR')}
what='no curl'; mkdir bare; for tool in node sh systemctl systemd-run id readlink; do ln -s "$(command -v $tool)" bare/; done; ${doctor('PATH=$HOME/bare:$HOME/prefix/bin')}
what='socket mode'; chmod 666 "$S"; ${doctor()}; chmod 600 "$S"
what='directory mode'; chmod 755 "\${S%/*}"; ${doctor()}; chmod 700 "\${S%/*}"
what='other version'; P=~/prefix/lib/node_modules/prefect-auth-broker; V=$(node -p "require('$P/package.json').version"); cp $P/dist/auth.cjs keep; sed -i "s/\\"$V\\"/\\"98.0.0\\"/" $P/dist/auth.cjs; ${doctor()}; cp keep $P/dist/auth.cjs
what=outdated; echo '# mine' >>~/.config/systemd/user/prefect-authd.timer; ${doctor()}; prefect-auth service install >/dev/null
what='no login'; systemctl --user disable -q prefect-authd.service; ${doctor()}; systemctl --user enable -q prefect-authd.service
what=failed; cp ~/.config/prefect-auth/config.toml keep; echo 'prot = 1' >~/.config/prefect-auth/config.toml
systemctl --user stop prefect-authd.socket prefect-authd-tcp.socket 2>/dev/null; systemctl --user restart prefect-authd.service 2>/dev/null; sleep 1; cp keep ~/.config/prefect-auth/config.toml; systemctl --user stop prefect-authd.socket; ${doctor()}; prefect-auth service install >/dev/null
what='socket missing'; rm "$S"; ${doctor()}; systemctl --user restart prefect-authd.socket prefect-authd.service
what='taken port'; systemctl --user stop prefect-authd.service prefect-authd-tcp.socket 2>/dev/null
python3 -m http.server --bind 127.0.0.1 4280 >/dev/null 2>&1 & taker=$!
until curl -qs -o /dev/null http://127.0.0.1:4280/; do sleep 0.05; done; ask /livez >/dev/null; sleep 0.5; ${doctor()}; kill $taker
prefect-auth service uninstall >/dev/null
what='not installed'; ${doctor()}
what=stale; python3 -c 'import socket,os; s=socket.socket(socket.AF_UNIX); s.bind(os.environ["HOME"]+"/stale")'; chmod 700 ~; ${doctor('PREFECT_AUTH_SOCKET=$HOME/stale')}
what='no socket'; touch ~/plain; ${doctor('PREFECT_AUTH_SOCKET=$HOME/plain')}
what='wrong owner'; ${doctor('PREFECT_AUTH_SOCKET=/mnt/authd.sock')}
`

/** What was done, and the line that reports it with the remedy. */
const table: readonly (readonly [string, RegExp])[] = [
  [
    'daemon and socket are good',
    /^healthy \| daemon \| ok \| .*\n(.*\n)*healthy \| socket \| ok \| .*authd\.sock/m,
  ],
  ['service and units are good', /^healthy \| service \| ok \| .*\nhealthy \| units \| ok/m],
  [
    'so are session, environment and exec',
    /^healthy \| session \| ok.*\nhealthy \| environment \| ok.*\nhealthy \| profile path \| ok.*\nhealthy \| surroundings \| ok.*\nhealthy \| exec \| ok/m,
  ],
  ['linger off', /^linger \| linger \| warning \| off: .* \| sudo loginctl enable-linger/m],
  [
    'the environment overrides',
    /^environment \| environment \| warning \| .*PREFECT_API_URL, PREFECT_API_KEY \| unset PREFECT_API_URL/m,
  ],
  ['no session bus', /^no bus \| session \| warning \| no session bus .*docs\/ssh\.md/m],
  ['nothing is known of the service there', /^no bus \| service \| unknown \| no user service manager/m],
  ['exec stays', /^no curl \| exec \| (warning .* install curl|ok)/m],
  ['the socket is open to others', /^socket mode \| socket \| warning \| .* mode 666.* \| chmod 600 /m],
  ['its directory is', /^directory mode \| socket \| problem \| .* mode 755.* \| chmod 700 /m],
  [
    'the daemon is of another version',
    /^other version \| daemon \| warning \| .*this command is version 98\.0\.0: .* \| .*service install/m,
  ],
  [
    'units are outdated',
    /^outdated \| units \| warning \| outdated: .*\.timer \| prefect-auth service install/m,
  ],
  ['it is not started at login', /^no login \| service \| warning \| running, but does not start at login/m],
  ['it failed', /^failed \| service \| problem \| failed: prefect-authd\.service failed/m],
  ['the socket is missing', /^socket missing \| socket \| problem \| no socket at .* service install/m],
  ['with the exit code for that', /^socket missing \| code 4/m],
  ['the port is taken, and by whom', /^taken port \| listeners \| warning \| port 4280 is taken by /m],
  [
    'the daemon is not running',
    /^not installed \| daemon \| problem \| the daemon is not running \| prefect-auth service install/m,
  ],
  ['the service is not installed', /^not installed \| service \| warning \| not installed/m],
  ['and the exit code says so', /^not installed \| code 4/m],
  ['the socket is stale', /^stale \| socket \| problem \| .* is left over: nothing listens/m],
  ['it is no socket', /^no socket \| socket \| problem \| .*plain is not a socket \| mv /m],
  [
    'it is of another user',
    /^wrong owner \| socket \| problem \| .* belongs to user 0, not to you \(10077\)/m,
  ],
]

t.test('reports every finding from outside', { skip, timeout: 110_000 }, async (t) => {
  // A socket owned by root, in the session's own /mnt: it disappears with the session.
  const trap =
    'mount -t tmpfs tmpfs /mnt; python3 -c \'import socket; socket.socket(socket.AF_UNIX).bind("/mnt/authd.sock")\''
  const { stdout, stderr } = await runSession(home, script, { BEFORE: trap })
  for (const [what, line] of table) t.match(stdout, line, what)
  t.comment(stderr)
})

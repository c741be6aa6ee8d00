/** Changes of an installed service on a real `systemd --user`: ports, upgrades, moves, removal. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { installPackage, READY, runSession, whyNoManager } from '../fixtures/user-session.js'

const skip = whyNoManager() ?? false
const home = skip === false ? installPackage(t) : ''

t.test('a taken port costs TCP only, and the message names its owner', { skip }, async (t) => {
  const session = await runSession(
    home,
    `python3 -m http.server --bind 127.0.0.1 4280 >/dev/null 2>&1 & taker=$!
     until curl -qs -o /dev/null http://127.0.0.1:4280/; do sleep 0.05; done
     prefect-auth service install; say installed $?
     prefect-auth service status; ask /livez; echo
     kill $taker; wait $taker 2>/dev/null
     prefect-auth service install >/dev/null; say again $?; curl -qsS --noproxy '*' http://127.0.0.1:4280/livez`,
  )
  t.match(session.stdout, /port 4280 is taken by /)
  t.match(session.stdout, /installed: 0\nrunning .*without TCP.*\n\{"live":true\}\n/)
  t.match(session.stdout, /again: 0\n\{"live":true\}$/, 'once it is free, the next install restores TCP')
})

t.test('changes the port, and turns it off', { skip }, async (t) => {
  const { stdout } = await runSession(
    home,
    `${READY}
     printf 'port = 4999\\n[vault]\\nbackend = "file"\\n' >~/.config/prefect-auth/config.toml
     prefect-auth service status; prefect-auth service install >/dev/null; prefect-auth status --url
     printf 'port = "off"\\n[vault]\\nbackend = "file"\\n' >~/.config/prefect-auth/config.toml
     prefect-auth service install >/dev/null; prefect-auth status --url 2>&1; ls ~/.config/systemd/user/*.socket
     printf 'prot = 1\\n' >~/.config/prefect-auth/config.toml; prefect-auth service install 2>&1; say bad $?`,
  )
  t.match(stdout, /out of date: prefect-auth service install\nhttp:\/\/127\.0\.0\.1:4999\n/)
  t.match(stdout, /the daemon does not listen on TCP/)
  t.match(stdout, /\n\/home\/sdtest\/\.config\/systemd\/user\/prefect-authd\.socket\n/)
  t.notMatch(stdout, /prefect-authd-tcp\.socket\n/)
  t.match(stdout, /unknown setting prot in .*config\.toml[\s\S]*bad: 1/)
})

t.test('survives an upgrade in place, a move, and the loss of its Node', { skip }, async (t) => {
  const { stdout, stderr } = await runSession(
    home,
    `mkdir -p ~/node/bin ~/.local/bin; cp "$(command -v node)" ~/node/bin/node
     PATH=$HOME/node/bin:$PATH prefect-auth service install >/dev/null; say node "$(tr '\\0' ' ' </proc/$(pid)/cmdline)"
     P=~/prefix/lib/node_modules/prefect-auth-broker; V=$(prefect-auth --version)
     sed -i "s/\\"\${V//./\\\\.}\\"/\\"99.0.0\\"/" $P/dist/auth.cjs $P/dist/authd.cjs
     PATH=$HOME/node/bin:$PATH prefect-auth service install | grep listening
     rm -r ~/node; systemctl --user restart prefect-authd.service; say gone "$(ask /livez)"
     prefect-auth service status
     ln -s ~/moved/bin/prefect-authd ~/.local/bin/; mv ~/prefix ~/moved; systemctl --user restart prefect-authd.service
     say moved "$(ask /livez)"; PATH=~/moved/bin:$PATH; prefect-auth service install >/dev/null
     say new "$(tr '\\0' ' ' </proc/$(pid)/cmdline)"; prefect-auth service status; grep -c 'is gone' $XDG_RUNTIME_DIR/authd.log`,
  )
  t.match(stdout, /node: \/home\/sdtest\/node\/bin\/node .*\/home\/sdtest\/prefix\/.*authd\.js/)
  t.match(stdout, /prefect-authd 99\.0\.0 \(pid \d+\) is listening/, stderr)
  t.match(stdout, /gone: \{"live":true\}\nrunning .*out of date/)
  t.match(stdout, /moved: \{"live":true\}\nnew: \S+ .*\/home\/sdtest\/moved\//)
  t.match(stdout, /running as a systemd user service \(pid \d+\), starts at login\n2\n$/)
})

t.test('uninstall leaves only what the user had, and the state', { skip }, async (t) => {
  const session = await runSession(
    home,
    `rm -r ~/.config/systemd; mkdir -p ~/.local/share ~/.local/state; list() { (cd; find . -path ./.local/state/prefect-auth -prune -o -path ./prefix -prune -o -print | sort); }
     list >/tmp/before; prefect-auth service install >/dev/null; prefect-auth service uninstall; say uninstalled $?
     list >/tmp/after; diff /tmp/before /tmp/after; systemctl --user list-units --all 'prefect*' --no-legend --plain
     prefect-auth service uninstall; ls -A "$XDG_RUNTIME_DIR/prefect-auth"; ls ~/.local/state/prefect-auth | head -1`,
  )
  const [, after = ''] = session.stdout.split('uninstalled: 0\n')
  t.match(session.stdout, /Removed:\n( {2}\/home\/sdtest\/.*\n){10}Keys, settings and state are unchanged\./)
  // What open shells compare stays until the logout, and no socket beside it.
  t.match(after, /^No service was installed\.\ngeneration\n\S+\n$/)
})

t.test('asks to stop another running daemon first, and takes nothing from it', { skip }, async (t) => {
  const { stdout } = await runSession(
    home,
    `prefect-authd >/dev/null 2>&1 & by_hand=$!
     until ask /livez >/dev/null 2>&1; do sleep 0.05; done
     prefect-auth service install 2>&1; say refused $?; ask /livez; [ -e ~/.config/systemd/user/prefect-authd.service ] || echo; kill $by_hand; wait $by_hand`,
  )
  t.match(stdout, /a prefect-authd started by hand is already running \(pid \d+\)[\s\S]*try: kill \d+/)
  t.match(stdout, /refused: 1\n\{"live":true\}\n$/)
})

t.test('names what the sandbox would hide, and writes nothing', { skip }, async (t) => {
  const { stdout } = await runSession(
    home,
    `H=$(mktemp -d /tmp/pab-hidden-XXXXXX); cp -a ~/prefix "$H"/; touch "$H"/profiles.toml; ln -s "$H" ~/elsewhere; ln -s "$H"/profiles.toml ~/linked.toml
     refused() { "$@" service install --yes 2>&1 | sed "s,$H,HIDDEN,g"; say code "\${PIPESTATUS[0]}"; }
     refused ~/elsewhere/prefix/bin/prefect-auth
     refused env PREFECT_AUTH_STATE_DIR=/var/tmp/pab PREFECT_PROFILES_PATH="$HOME/linked.toml" prefect-auth
     refused env SSL_CERT_FILE=/tmp/ca.pem PREFECT_AUTH_SOCKET="$H/new/authd.sock" prefect-auth
     ls ~/.config/systemd/user ~/.local 2>&1; rm -rf "$H"`,
  )
  const [program, state, rest, ...left] = stdout.split('code: 1\n')
  t.match(
    program,
    /^prefect-auth: .*\(service_path_hidden\)\n {2}HIDDEN\/prefix\/\S+: the package\ntry: install the package/,
  )
  t.match(
    state,
    /\(service_path_hidden\)\n {2}\/var\/tmp\/pab: the state directory\n {2}HIDDEN: the directory of profiles.toml\n/,
  )
  t.match(rest, /\n {2}HIDDEN\/new: the directory of the socket\n {2}\/tmp\/ca.pem: SSL_CERT_FILE\n/)
  t.match(left.join(''), /cannot access .*\.local'.*\n.*\nprefect-authd.service.d\n$/)
})

t.test('systemd-analyze finds nothing wrong, and rates it well protected', { skip }, async (t) => {
  const { stdout, stderr } = await runSession(
    home,
    `${READY}; cd ~/.config/systemd/user
     systemd-analyze --user verify prefect-authd.service prefect-authd.socket prefect-authd-tcp.socket prefect-authd.timer prefect-authd-wake.service prefect-authd-callers.socket prefect-authd-callers@x.service prefect-authd-peers.socket prefect-authd-peers@x.service 2>&1 | grep -i prefect; say verified "\${PIPESTATUS[0]}"
     systemd-analyze --user security --offline=true --threshold=30 prefect-authd.service | tail -1; say security "\${PIPESTATUS[0]}"`,
  )
  t.match(stdout, /^verified: 0\n/, stderr)
  t.match(stdout, /exposure level .*: [0-2]\.\d OK[\s\S]*security: 0\n/)
})

t.test('names the remedy without a manager, and as root', { skip }, async (t) => {
  const { stdout } = await runSession(
    home,
    'unset XDG_RUNTIME_DIR DBUS_SESSION_BUS_ADDRESS; prefect-auth service install 2>&1; say code $?; prefect-auth service status; say status $?',
  )
  t.match(
    stdout,
    /no systemd user manager[\s\S]*loginctl enable-linger[\s\S]*code: 1\nunknown: .*\nstatus: 4\n/,
  )
  if (process.getuid?.() !== 0) return
  const program = join(home, 'prefix/bin/prefect-auth')
  t.equal(existsSync(program), true)
  const asRoot = spawnSync(program, ['service', 'install'], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, HOME: home },
  })
  t.equal(asRoot.status, 2)
  t.match(asRoot.stderr, /by the user whose keys it holds, not by root/)
})

/** `prefect-auth setup` on a real `systemd --user`: the service, taken away again, and started by a command. */
import t from 'tap'
import { installPackage, runSession, whyNoManager } from '../fixtures/user-session.js'

t.setTimeout(900_000)
const skip = whyNoManager() ?? false
const home = skip === false ? installPackage(t) : ''
const SETUP = 'export SHELL=/bin/bash; printf "alias a=b" > ~/.bashrc; '
/** Everything but the state, and the drop-in of the fixture. */
const PICTURE =
  'picture() { find . -path ./prefix -prune -o -path ./.local/state/prefect-auth -prune -o -path "./.npm*" -prune -o -type f -exec sha256sum {} + -o -type d -print | sort; }; '

t.test(
  'setup installs the service, twice changes nothing, and --remove gives all back',
  { skip },
  async (t) => {
    const { stdout, stderr, code } = await runSession(
      home,
      `${SETUP}${PICTURE}cd; mkdir -p .local/state; picture > /run/user/10077/before
     prefect-auth setup --yes >out.txt 2>err.txt; say setup $?; rm out.txt err.txt
     say service "$(is prefect-authd.service)"
     prefect-auth setup --yes 2>&1 | grep -c 'Everything is set up'
     prefect-auth setup --remove --yes >/run/user/10077/out 2>&1; say removed $?
     picture > /run/user/10077/after; diff /run/user/10077/before /run/user/10077/after && say same yes
     say service "$(is prefect-authd.service)"; ls ~/.config/systemd/user/*.service 2>/dev/null`,
    )
    t.equal(code === 0 || code === 2, true, stderr)
    t.match(stdout, /setup: 0\nservice: active\n1\nremoved: 0\nsame: yes\nservice: inactive\n$/, stderr)
  },
)

t.test(
  'what service install put there stays, and a stopped service is started by env',
  { skip },
  async (t) => {
    const { stdout, stderr } = await runSession(
      home,
      `${SETUP}prefect-auth service install >/dev/null 2>&1; say installed $?
     prefect-auth setup --yes >/dev/null 2>&1; prefect-auth setup --remove --yes >/dev/null 2>&1
     say service "$(is prefect-authd.service)"
     systemctl --user stop prefect-authd.socket prefect-authd-tcp.socket prefect-authd.service 2>/dev/null
     say stopped "$(is prefect-authd.socket)"
     prefect-auth status >/dev/null 2>&1; say status $?
     say env "$(prefect-auth env 2>err.txt | grep -c PREFECT_API_URL=)"; cat err.txt
     say again "$(is prefect-authd.socket)"`,
    )
    t.match(
      stdout,
      /installed: 0\nservice: active\nstopped: inactive\nstatus: 4\nenv: 1\nprefect-auth: the service was stopped; started it\nagain: active\n$/,
      stderr,
    )
  },
)

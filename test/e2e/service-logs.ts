/** `prefect-auth logs` on a real journal. */
import t from 'tap'
import { installPackage, READY, runSession, whyNoManager } from '../fixtures/user-session.js'

const skip = whyNoManager() ?? false
const home = skip === false ? installPackage(t) : ''

t.test(
  'the log of the service is read from the journal, whatever an older daemon left in its file',
  { skip },
  async (t) => {
    const { stdout, stderr } = await runSession(
      home,
      `rm -r ~/.config/systemd/user/prefect-authd.service.d
     mkdir -p -m 700 ~/.local/state/prefect-auth
     echo '{"level":"info","time":"2026-01-01T00:00:00.000Z","msg":"of another daemon"}' >~/.local/state/prefect-auth/authd.log
     prefect-auth logs | head -1
     ${READY}
     prefect-auth logs | grep -m 1 -o 'INFO  vault chosen'
     prefect-auth logs -f -n 1 >followed & follow=$!
     for try in $(seq 100); do [ -s followed ] && break; sleep 0.05; done
     prefect-auth logout --profile nobody >/dev/null 2>&1; curl -qs --unix-socket "$S" -H 'Host: evil' http://authd/v1/env >/dev/null
     for try in $(seq 100); do grep -q refused followed && break; sleep 0.05; done
     grep -c 'request refused' followed; kill $follow; wait $follow; say ended $?
     systemctl --user stop prefect-authd.service prefect-authd.socket 2>/dev/null; sleep 0.1
     echo '{"level":"info","time":"2026-02-02T00:00:00.000Z","msg":"started by hand since"}' >~/.local/state/prefect-auth/authd.log
     prefect-auth logs | tail -1`,
      { JOURNAL: '1' },
    )
    t.match(
      stdout,
      /^2026-01-01 00:00:00Z INFO {2}of another daemon\nINFO {2}vault chosen\n1\nended: \d+\n2026-02-02 00:00:00Z INFO {2}started by hand since\n$/,
      stderr,
    )
  },
)

/** Which directories the service's sandbox is opened for: none from where code would get out of it. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { openable, whyNotOpened } from '../../../src/cli/service/sandbox.js'

const root = realpathSync(mkdtempSync(join(tmpdir(), 'pab-sandbox-')))
t.teardown(() => rmSync(root, { recursive: true, force: true }))
const home = join(root, 'home')
for (const path of ['app', 'tools', '.config']) mkdirSync(join(home, path), { recursive: true })
symlinkSync(join(home, 'tools'), join(home, 'bin'))
symlinkSync(home, join(root, 'link'))
const around = {
  // As it is where /home is a link.
  home: join(root, 'link'),
  env: { PATH: `${join(home, 'bin')}:relative::${join(home, 'app/.venv/bin')}` },
  platform: 'linux',
  uid: 1000,
  packageDir: join(home, 'prefix/lib/pab'),
}

const CASES: readonly (readonly [folder: string, reason: RegExp | undefined])[] = [
  [join(home, 'app'), undefined],
  [join(home, 'app/deeper'), undefined],
  [join(home, '.config/tool'), undefined],
  [home, /whole home/],
  [root, /whole home/],
  ['/', /whole home/],
  [join(home, '.config'), /own units/],
  [join(home, '.config/systemd/user'), /own units/],
  [join(home, '.config/systemd/user/prefect-authd.service.d'), /own units/],
  [join(home, '.local/share'), /start script/],
  [join(home, 'prefix'), /own program/],
  [join(home, 'prefix/lib/pab/dist'), /own program/],
  [join(home, 'tools'), /programs that you start/],
  [join(home, 'tools-of-mine'), undefined],
  [join(home, 'app/.venv/bin'), /programs that you start/],
  [`${home}/a\nb`, /control character/],
]

for (const [folder, reason] of CASES) {
  t.test(`${JSON.stringify(folder.replace(root, ''))}: ${reason ?? 'opened'}`, async (t) => {
    const found = await whyNotOpened(folder, around)
    if (reason === undefined) t.equal(found, undefined)
    else t.match(found, reason)
  })
}

t.test('what is left is sorted, and each is there once', async (t) => {
  const [app, other] = [join(home, 'app'), join(home, 'other')]
  t.same(await openable([other, home, app, other], around), [app, other])
})

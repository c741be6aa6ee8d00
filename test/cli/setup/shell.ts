/** Which file of which shell gets which lines. */
import t from 'tap'
import { isLoadedIn, planShell, shellInUse } from '../../../src/cli/setup/shell.js'

const linux = { env: {}, home: '/h', platform: 'linux' }

t.test('the file is the one that the shell reads', async (t) => {
  const mac = { ...linux, platform: 'darwin' }
  const table = [
    ['bash', linux, [], '/h/.bashrc'],
    ['bash', mac, [], '/h/.bash_profile'],
    ['bash', mac, ['/h/.profile'], '/h/.profile'],
    ['bash', mac, ['/h/.profile', '/h/.bash_login'], '/h/.bash_login'],
    ['zsh', linux, [], '/h/.zshrc'],
    ['zsh', { ...linux, env: { ZDOTDIR: '/z' } }, [], '/z/.zshrc'],
    ['zsh', { ...linux, env: { ZDOTDIR: 'z' } }, [], '/h/.zshrc'],
    ['fish', linux, [], '/h/.config/fish/config.fish'],
    ['fish', { ...linux, env: { XDG_CONFIG_HOME: '/c' } }, [], '/c/fish/config.fish'],
  ] as const
  for (const [shell, around, files, path] of table) {
    const { path: found } = planShell(shell, 'hook', around, (one) => files.some((file) => file === one))
    t.equal(found, path, `${shell} ${files}`)
  }
  t.equal(
    planShell('fish', 'completion', linux, () => false).path,
    '/h/.config/fish/completions/prefect-auth.fish',
  )
})

t.test('the shell in use is the login shell, if we know it', async (t) => {
  const table = [
    ['/usr/bin/zsh', 'zsh'],
    ['fish', 'fish'],
    ['/bin/sh', undefined],
    ['', undefined],
    [undefined, undefined],
  ] as const
  for (const [SHELL, shell] of table) t.equal(shellInUse({ env: { SHELL } }), shell)
})

t.test('a line that the user wrote counts, a comment does not', async (t) => {
  t.ok(isLoadedIn('a\neval "$(prefect-auth hook bash)"\n', 'bash', 'hook'))
  t.notOk(isLoadedIn('# eval "$(prefect-auth hook bash)"\n', 'bash', 'hook'))
  t.notOk(isLoadedIn('eval "$(prefect-auth hook bash)"\n', 'bash', 'completion'))
})

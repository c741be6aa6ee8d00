/** Words that people type from other tools, and the command that is meant. */

/** By the command under which the word was typed; capital letters stand for what the person has to name. */
const MEANT: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'prefect-auth': {
    whoami: 'status',
    info: 'status',
    show: 'status',
    check: 'doctor',
    run: 'exec -- CMD',
    shell: 'env',
    export: 'env',
    list: 'profile ls',
    ls: 'profile ls',
    use: 'profile use NAME',
    switch: 'profile use NAME',
    select: 'profile use NAME',
    profiles: 'profile ls',
    workspaces: 'workspace ls',
    key: 'keys ls',
    tokens: 'token ls',
    signin: 'login',
    auth: 'login',
    init: 'login',
    signout: 'logout',
    install: 'service install',
    start: 'service install',
    restart: 'service install',
    upgrade: 'service install',
    update: 'service install',
    stop: 'service uninstall',
    rotate: 'renew --now',
    refresh: 'renew --now',
    purge: 'uninstall --purge',
    prune: 'keys prune',
    log: 'logs',
    completions: 'completion bash',
    plugin: 'integrate',
  },
  'prefect-auth profile': {
    switch: 'profile use NAME',
    select: 'profile use NAME',
    add: 'profile create NAME',
    new: 'profile create NAME',
    show: 'profile inspect NAME',
    remove: 'profile delete NAME',
    rm: 'profile delete NAME',
  },
  'prefect-auth workspace': {
    use: 'workspace set ACCOUNT/WORKSPACE',
    switch: 'workspace set ACCOUNT/WORKSPACE',
    select: 'workspace set ACCOUNT/WORKSPACE',
  },
  'prefect-auth keys': {
    add: 'keys create NAME',
    new: 'keys create NAME',
    remove: 'keys delete ID',
    rm: 'keys delete ID',
    revoke: 'keys delete ID',
    clean: 'keys prune',
    rotate: 'renew --now',
  },
  'prefect-auth token': {
    add: 'token create --name NAME',
    new: 'token create --name NAME',
    delete: 'token revoke ID',
    remove: 'token revoke ID',
    rm: 'token revoke ID',
  },
  'prefect-auth service': {
    start: 'service install',
    restart: 'service install',
    stop: 'service uninstall',
    remove: 'service uninstall',
  },
}

/** The command that a word means under `path` (`prefect-auth profile`); undefined if nothing is known about it. */
export function meantBy(path: string, word: string): string | undefined {
  const words = MEANT[path]
  return words !== undefined && Object.hasOwn(words, word) ? words[word] : undefined
}

/** Every word with its path and what it means. */
export function knownWords(): readonly {
  readonly path: string
  readonly word: string
  readonly meant: string
}[] {
  return Object.entries(MEANT).flatMap(([path, words]) =>
    Object.entries(words).map(([word, meant]) => ({ path, word, meant })),
  )
}

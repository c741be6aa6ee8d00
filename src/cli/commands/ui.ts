/** `prefect-auth ui`: opens the page of this machine in the browser, or prints the link to it. */
import type { Command } from 'commander'
import { openBrowser, planBrowser } from '../login/browser.js'
import { type CommonOptions, type Session, type Start, withJson } from '../session.js'
import { formatTime, printable } from '../text.js'

interface UiOptions extends CommonOptions {
  readonly browser: boolean
}

export function addUi(program: Command, start: Start): void {
  withJson(program.command('ui'))
    .description('open a page that shows keys, who uses them, and open questions')
    .option('--no-browser', 'print the link, open no browser')
    .addHelpText(
      'after',
      '\nThe link works once, within a minute; the page closes ten minutes after its last use.\nFrom another machine: ssh -L PORT:127.0.0.1:PORT HOST, with the port of the link, then ask for a new one.',
    )
    .action((options: UiOptions) => start('ui', options, (session) => showPage(session, options)))
}

async function showPage(session: Session, { browser }: UiOptions): Promise<void> {
  const link = await session.client.openPage()
  const { env, platform } = session.terminal
  const { isInteractive } = session
  // Whoever reads the answer opens the link: a browser would use it up.
  const isUnwanted = !browser || session.isJson
  const plan = planBrowser({ env, platform, isInteractive, isUnwanted, url: link.url })
  if (plan.isToBeOpened && (await openBrowser(link.url, env, platform))) {
    session.answer(link, () => 'The page is open in your browser')
    return
  }
  session.answer(link, () => printable(link.url))
  session.say(`Open it once, before ${formatTime(link.expires_at)} UTC, in a browser on this machine`)
  const { port } = new URL(link.url)
  if (env.SSH_CONNECTION)
    session.say(
      `From where you connect: ssh -L ${port}:127.0.0.1:${port} HOST; after that, prefect-auth ui prints a new link with the same port`,
    )
}

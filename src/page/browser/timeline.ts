/** The life of a key as a picture: how much is over, when it renews, when it expires. */
import { formatDate } from '../../cli/text.js'
import { svg } from './dom.js'

export interface Life {
  /** Epoch ms. */
  readonly from: number
  readonly until: number
  /** Absent: it is not renewed. */
  readonly renews?: number
  readonly now: number
}

/** Shares of the whole width, 0 to 100. The key may be over. */
export function measure({ from, until, renews, now }: Life) {
  const share = (at: number) => Math.min(100, Math.max(0, ((at - from) / Math.max(1, until - from)) * 100))
  return { now: share(now), isOver: now >= until, ...(renews === undefined ? {} : { renews: share(renews) }) }
}

const TOP = 4
const HEIGHT = 14
const TEXT = 34

/** `sentence` says the same in words. */
export function drawTimeline(life: Life, sentence: string): SVGElement {
  const { now, renews, isOver } = measure(life)
  const bar = { y: TOP, height: HEIGHT, x: 0 }
  const mark = (at: number, name: string) =>
    svg('line', { class: name, x1: `${at}%`, x2: `${at}%`, y1: 0, y2: TOP + HEIGHT + 4 })
  const label = (at: number, text: string, anchor: string) =>
    svg('text', { class: anchor, x: `${at}%`, y: TEXT, 'text-anchor': anchor }, text)
  const day = (at: number) => formatDate(new Date(at).toISOString())
  return svg(
    'svg',
    { class: 'timeline', role: 'img', 'aria-label': sentence },
    svg('rect', { ...bar, class: 'life', width: '100%', rx: 4 }),
    svg('rect', { ...bar, class: isOver ? 'over' : 'spent', width: `${now}%`, rx: 4 }),
    renews === undefined ? undefined : mark(renews, 'renews'),
    mark(now, 'now'),
    label(0, day(life.from), 'start'),
    // Between the two ends there is room for one date, but not close to them.
    renews === undefined || life.renews === undefined || renews < 25 || renews > 75
      ? undefined
      : label(renews, `${life.renews < life.now ? 'was to renew' : 'renews'} ${day(life.renews)}`, 'middle'),
    label(100, `${isOver ? 'expired' : 'expires'} ${day(life.until)}`, 'end'),
  )
}

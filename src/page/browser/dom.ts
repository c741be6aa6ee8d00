/** Elements, made of text that is only ever text. */

type Child = Node | string | undefined

/** `h('p', { class: 'quiet' }, 'text', child)`; absent children are left out. */
export function h(
  name: string,
  attributes: Readonly<Record<string, string>>,
  ...children: readonly Child[]
): HTMLElement {
  return fill(document.createElement(name), attributes, children)
}

const SVG = 'http://www.w3.org/2000/svg'

/** The same for a part of a picture. */
export function svg(
  name: string,
  attributes: Readonly<Record<string, string | number>>,
  ...children: readonly Child[]
): SVGElement {
  return fill(document.createElementNS(SVG, name), attributes, children)
}

function fill<Made extends Element>(
  element: Made,
  attributes: Readonly<Record<string, string | number>>,
  children: readonly Child[],
): Made {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value))
  element.append(...children.filter((child) => child !== undefined))
  return element
}

/** The element of the document with this id. */
export function part(id: string): HTMLElement {
  const found = document.getElementById(id)
  if (found === null) throw new Error(`the document has no part ${id}`)
  return found
}

/**
 * Shows `children` in the part, if they differ from what it shows: a reader's place, an open detail and the focus survive an
 * update that changes nothing there.
 */
export function show(id: string, ...children: readonly Child[]): void {
  const place = part(id)
  const next = h('div', {}, ...children)
  const text = next.innerHTML
  if (text === place.dataset.shown) return
  const focused =
    document.activeElement instanceof HTMLElement ? document.activeElement.dataset.focus : undefined
  const open = [...place.querySelectorAll('details[open]')].map((one) => one.id)
  place.dataset.shown = text
  place.replaceChildren(...next.childNodes)
  for (const id of open) place.querySelector(`details[id="${CSS.escape(id)}"]`)?.setAttribute('open', '')
  if (focused === undefined || document.activeElement !== document.body) return
  const same = place.querySelector<HTMLElement>(`[data-focus="${CSS.escape(focused)}"]`)
  // What had the focus is gone: its section is where a reader goes on.
  const heading = place.closest('section:not([hidden])')?.querySelector('h2')
  const further = same ?? heading ?? part('main')
  further.focus()
}

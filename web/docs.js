// The API reference: openapi.json as a page, with code for each route and a form to try it. Text only ever becomes
// text nodes.
import { codeOf } from './docs-code.js'

/** @typedef {any} Json a part of the document, which is what the API says it is */

/** @type {Json} */
let api = {}
let token = ''

/**
 * @param {string} tag an element, with classes behind dots
 * @param {Json} [attributes]
 * @param {...(Node | string)} children
 */
function h(tag, attributes = {}, ...children) {
  const [name = '', ...classes] = tag.split('.')
  const element = document.createElement(name)
  element.classList.add(...classes)
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(key, value === true ? '' : String(value))
  }
  element.append(...children)
  return element
}

/**
 * The little Markdown that the document has: paragraphs and code.
 *
 * @param {string} [text]
 */
function prose(text = '') {
  return text
    .split('\n\n')
    .filter(Boolean)
    .map((paragraph) =>
      h('p', {}, ...paragraph.split('`').map((part, at) => (at % 2 === 1 ? h('code', {}, part) : part))),
    )
}

/**
 * @param {Json} value
 * @returns {Json}
 */
function resolve(value) {
  if (typeof value?.$ref !== 'string') return value ?? {}
  return value.$ref
    .slice(2)
    .split('/')
    .reduce((/** @type {Json} */ found, /** @type {string} */ key) => found[key], api)
}

/** @param {unknown} value */
const pretty = (value) => JSON.stringify(value, null, 2)

/**
 * One line on what a value may be.
 *
 * @param {Json} schema
 * @returns {string}
 */
function kind(schema) {
  const {
    type,
    enum: choices,
    const: only,
    items,
    format,
    minimum,
    maximum,
    default: usual,
    ...rest
  } = schema
  if (schema.$ref) return schema.$ref.split('/').at(-1)
  if (only !== undefined) return JSON.stringify(only)
  if (choices) return choices.join(' | ')
  const options = rest.anyOf ?? rest.oneOf
  if (options) return options.map(kind).join(' | ')
  const range = minimum === undefined && maximum === undefined ? '' : ` ${minimum ?? ''}…${maximum ?? ''}`
  const words = type === 'array' ? `array of ${kind(items ?? {})}` : `${format ?? type ?? 'anything'}${range}`
  return usual === undefined ? words : `${words}, ${usual} by default`
}

/**
 * The fields of a schema, those of its parts folded away.
 *
 * @param {Json} raw
 * @returns {Node}
 */
function fields(raw) {
  const merged = resolve(raw)
  const schema = merged.allOf ? { ...resolve(merged.allOf[0]), override: merged.properties } : merged
  const options = schema.oneOf
  if (options) {
    return h(
      'div',
      {},
      ...options.map((/** @type {Json} */ option) => folded(resolve(option).title ?? kind(option), option)),
    )
  }
  if (schema.type === 'array') return fields(schema.items)
  const entries = Object.entries(schema.properties ?? {})
  if (entries.length === 0) return h('p.muted', {}, kind(schema))
  return h(
    'ul.fields',
    {},
    ...(schema.description ? [h('li.muted', {}, schema.description)] : []),
    ...entries.map(([name, property]) => {
      const shown = { ...property, ...schema.override?.[name] }
      const optional = schema.required?.includes(name) || !schema.required ? '' : ' optional'
      const inner = resolve(shown.type === 'array' ? shown.items : shown)
      const line = [h('code', {}, name), ' ', h('span.muted', {}, kind(shown) + optional)]
      const more = inner.properties || inner.oneOf || inner.allOf
      return h('li', {}, ...(more ? [folded(h('span', {}, ...line), inner)] : line))
    }),
  )
}

/**
 * @param {Node | string} title
 * @param {Json} schema
 */
function folded(title, schema) {
  const details = h('details', {}, h('summary', {}, title))
  // Made when it is opened: most never are.
  details.addEventListener('toggle', () => details.append(fields(schema)), { once: true })
  return details
}

/** @param {Json} media */
function mediaOf(media) {
  const examples = Object.entries(
    media.examples ?? (media.example === undefined ? {} : { example: { value: media.example } }),
  )
  return [
    ...(media.schema ? [fields(media.schema)] : []),
    ...examples.map(([name, { value }]) =>
      h(
        'details',
        {},
        h('summary', {}, examples.length > 1 ? `Example: ${name}` : 'Example'),
        h('pre', { tabindex: 0 }, pretty(value)),
      ),
    ),
  ]
}

/** @param {[string, Json][]} rows */
const table = (rows) =>
  h(
    'table',
    {},
    h(
      'tbody',
      {},
      ...rows.map(([name, { description, schema, required, in: where }]) =>
        h(
          'tr',
          {},
          h(
            'th',
            { scope: 'row' },
            h('code', {}, name),
            ' ',
            h('span.muted', {}, `${where ?? ''}${required && where ? ', required' : ''}`),
          ),
          h('td', {}, ...prose(description), h('span.muted', {}, kind(schema ?? {}))),
        ),
      ),
    ),
  )

/**
 * @param {string} id
 * @param {string} method
 * @param {string} path
 * @param {Json} operation
 * @param {boolean} callable
 */
function article(id, method, path, operation, callable) {
  const content = operation.requestBody?.content ?? {}
  const parameters = operation.parameters ?? []
  const parts = [
    h('h2', { id }, operation.summary),
    h('p.route', {}, h(`span.method.${method}`, {}, method.toUpperCase()), ' ', h('code', {}, path)),
    ...prose(operation.description),
  ]
  if (callable) parts.push(codeBlock(id, method, path))
  if (parameters.length > 0)
    parts.push(h('h3', {}, 'Parameters'), table(parameters.map((/** @type {Json} */ one) => [one.name, one])))
  if (Object.keys(content).length > 0) {
    parts.push(h('h3', {}, 'Body'))
    for (const [type, media] of Object.entries(content))
      parts.push(h('details', {}, h('summary', {}, h('code', {}, type)), ...mediaOf(media)))
  }
  parts.push(h('h3', {}, 'Answers'))
  for (const [status, response] of Object.entries(operation.responses)) {
    const headers = Object.entries(response.headers ?? {})
    parts.push(
      h(
        'details',
        {},
        h(
          'summary',
          {},
          h(`strong.${/^[23]/.test(status) ? 'good' : 'bad'}`, {}, status),
          ' ',
          ...prose(response.description),
        ),
        ...Object.values(response.content ?? {}).flatMap(mediaOf),
        ...(headers.length > 0 ? [h('h3', {}, 'Headers'), table(headers)] : []),
      ),
    )
  }
  if (callable) parts.push(tryIt(method, path, operation))
  return h('article.panel', { 'aria-labelledby': id }, ...parts)
}

const REMEMBERED = 'language'

/** The language that was chosen last; a browser may forbid to remember it. */
let language = 'curl'
try {
  language = localStorage.getItem(REMEMBERED) ?? language
} catch {}

/** @param {string} chosen */
function speak(chosen) {
  language = chosen
  try {
    localStorage.setItem(REMEMBERED, chosen)
  } catch {}
  showLanguage()
}

/** In every block that has the language; the others show their first. */
function showLanguage() {
  for (const block of document.querySelectorAll('.code')) {
    const radios = [...block.querySelectorAll('input')]
    for (const radio of radios) radio.checked = radio.value === language
    if (!radios.some((radio) => radio.checked) && radios[0]) radios[0].checked = true
    for (const pre of block.querySelectorAll('pre'))
      pre.hidden = pre.dataset['language'] !== radios.find((radio) => radio.checked)?.value
  }
}

/**
 * A program for each language, of which one is shown. Radio buttons bring their own keys.
 *
 * @param {string} id
 * @param {string} method
 * @param {string} path
 */
function codeBlock(id, method, path) {
  const programs = Object.entries(codeOf(api, new URL('.', location.href).href, method, path))
  const choice = h('fieldset', {}, h('legend.unseen', {}, 'Language of the example'))
  const copy = h('button.quiet.small', { type: 'button', 'aria-label': 'Copy the example' }, 'Copy')
  const block = h('div.code', {}, h('div.code-head', {}, choice, copy))
  for (const [name, text] of programs) {
    const radio = h('input', { type: 'radio', name: `language-${id}`, value: name })
    radio.addEventListener('change', () => {
      const { top } = block.getBoundingClientRect()
      speak(name)
      // Blocks above have changed their height; the one in use stays where it is.
      scrollBy(0, block.getBoundingClientRect().top - top)
    })
    choice.append(h('label', {}, radio, h('span', {}, name)))
    block.append(
      h('pre', { tabindex: 0, role: 'group', 'data-language': name, 'aria-label': `${name} example` }, text),
    )
  }
  copy.addEventListener('click', async () => {
    const text = block.querySelector('pre:not([hidden])')?.textContent ?? ''
    copy.textContent = await navigator.clipboard.writeText(text).then(
      () => 'Copied',
      () => 'Not copied',
    )
    setTimeout(() => {
      copy.textContent = 'Copy'
    }, 2_000)
  })
  return block
}

/**
 * @param {string} method
 * @param {string} path
 * @param {Json} operation
 */
function tryIt(method, path, operation) {
  const content = operation.requestBody?.content ?? {}
  const types = Object.keys(content).filter((type) => type !== 'image/*')
  const form = /** @type {HTMLFormElement} */ (h('form'))
  const output = h('output', { 'aria-live': 'polite' })
  /** @param {string} name @param {Node} control */
  const field = (name, control) => h('label', {}, h('span', {}, name), control)

  for (const { name, in: where, required, schema, explode } of operation.parameters ?? []) {
    const choices = resolve(schema).enum
    const control = choices
      ? h(
          'select',
          {},
          h('option', { value: '' }, ''),
          ...choices.map((/** @type {string} */ one) => h('option', {}, one)),
        )
      : h('input', { placeholder: explode === false ? schema.items.enum.join(',') : undefined, required })
    control.setAttribute('name', `${where}:${name}`)
    form.append(field(name, control))
  }
  if (types.length > 0) {
    const select = h('select', { name: 'type' }, ...types.map((type) => h('option', {}, type)))
    const file = field('File', h('input', { type: 'file', name: 'file' }))
    const text = field(
      'JSON',
      h(
        'textarea',
        { name: 'text', spellcheck: 'false' },
        pretty(content['application/json']?.example ?? {}),
      ),
    )
    const choose = () => {
      const json = /** @type {HTMLSelectElement} */ (select).value === 'application/json'
      file.hidden = json
      text.hidden = !json
    }
    select.addEventListener('change', choose)
    form.append(
      ...(types.length > 1
        ? [field('Body', select)]
        : [h('input', { type: 'hidden', name: 'type', value: types[0] })]),
      file,
      text,
    )
    if (types.length > 1) choose()
    else file.hidden = true
  }
  form.append(h('button.button', {}, 'Send'), output)
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    send(method, path, new FormData(form)).then(
      (shown) => output.replaceChildren(...shown),
      (error) => output.replaceChildren(h('p.bad', {}, `No answer: ${error.message}`)),
    )
  })
  return h('details', {}, h('summary', {}, h('strong', {}, 'Try it')), form)
}

/**
 * @param {string} method
 * @param {string} path
 * @param {FormData} values
 */
async function send(method, path, values) {
  // Relative, so that it is right below any stage prefix.
  let url = path.slice(1) || './'
  const query = new URLSearchParams()
  // JSON also in place of a redirect to the bucket, which a script may not follow.
  const headers = new Headers({ accept: 'application/json' })
  if (token !== '') headers.set('authorization', `Bearer ${token}`)
  for (const [key, value] of values) {
    const [where, name = ''] = key.split(':')
    if (typeof value !== 'string' || value === '') continue
    if (where === 'path') url = url.replace(`{${name}}`, encodeURIComponent(value))
    if (where === 'query') query.set(name, value)
    if (where === 'header') headers.set(name, value)
  }
  const type = values.get('type')
  /** @type {BodyInit | null} */
  let body = null
  if (type === 'multipart/form-data') {
    body = new FormData()
    body.set('image', /** @type {File} */ (values.get('file')))
  } else if (typeof type === 'string') {
    headers.set('content-type', type)
    body = /** @type {File | string} */ (values.get(type === 'application/json' ? 'text' : 'file'))
  }
  const address = query.size > 0 ? `${url}?${query}` : url
  const response = await fetch(address, { method: method.toUpperCase(), headers, body })
  const answered = response.headers.get('content-type') ?? ''
  const shown = [
    h('p', {}, h(`strong.${response.ok ? 'good' : 'bad'}`, {}, `${response.status} ${response.statusText}`)),
    h('pre', { tabindex: 0 }, [...response.headers].map(([name, value]) => `${name}: ${value}`).join('\n')),
  ]
  const text = await response.text()
  const value = /json/.test(answered) ? JSON.parse(text) : text
  if (text !== '') shown.push(h('pre', { tabindex: 0 }, typeof value === 'string' ? value : pretty(value)))
  if (value.url !== undefined)
    shown.push(h('a', { href: value.url, target: '_blank', rel: 'noopener' }, 'Open it'))
  return shown
}

/** How to prove who one is; a token typed here goes with what is tried. */
function authentication() {
  const schemes = Object.values(api.components.securitySchemes)
  return schemes.map((scheme) => {
    if (scheme.scheme !== 'bearer')
      return h('section.panel', {}, h('strong', {}, 'Signed requests'), ...prose(scheme.description))
    const input = /** @type {HTMLInputElement} */ (h('input', { type: 'password', autocomplete: 'off' }))
    input.addEventListener('input', () => {
      token = input.value.trim()
    })
    const form = h('form', {}, h('label', {}, h('span', {}, 'Bearer token'), input))
    form.addEventListener('submit', (event) => event.preventDefault())
    return h(
      'section.panel',
      {},
      form,
      h(
        'p.muted',
        {},
        'It goes with what is tried here. Examples read it from the variable ',
        h('code', {}, 'TOKEN'),
        '.',
      ),
    )
  })
}

function render() {
  const nav = /** @type {HTMLDetailsElement} */ (h('details', {}, h('summary', {}, 'All routes')))
  // On a phone the list would fill the first screen; beside the text it is open, without a way to close it.
  const wide = matchMedia('(min-width: 821px)')
  const unfold = () => {
    nav.open = wide.matches
  }
  wide.addEventListener('change', unfold)
  unfold()
  const articles = []
  for (const { name } of api.tags) {
    nav.append(h('h2', {}, name))
    for (const [path, item] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(item)) {
        if (!operation.tags?.includes(name)) continue
        const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])]
        articles.push(article(operation.operationId, method, path, { ...operation, parameters }, true))
        nav.append(h('a', { href: `#${operation.operationId}` }, operation.summary))
      }
    }
  }
  nav.append(h('h2', {}, 'Events'))
  for (const { post } of Object.values(api.webhooks)) {
    articles.push(article(post.operationId, 'post', 'your own', post, false))
    nav.append(h('a', { href: `#${post.operationId}` }, post.summary))
  }
  nav.append(
    h('p', {}, h('a', { href: 'openapi.json' }, 'openapi.json')),
    h('p', {}, h('a', { href: './' }, 'The page')),
  )
  document.getElementById('nav')?.replaceChildren(nav)
  document
    .getElementById('main')
    ?.replaceChildren(
      h('h1', {}, `${api.info.title} API`),
      ...prose(api.info.description),
      ...authentication(),
      ...articles,
    )
  showLanguage()
  // What the address names was not there yet when the browser looked for it.
  document.getElementById(location.hash.slice(1))?.scrollIntoView()
}

try {
  const response = await fetch('openapi.json')
  if (!response.ok) throw new Error(`openapi.json answers ${response.status}.`)
  api = await response.json()
  render()
} catch (error) {
  const loading = document.getElementById('loading')
  if (loading) loading.textContent = `The reference cannot be shown: ${/** @type {Error} */ (error).message}`
}

// @ts-check

/**
 * The API: asked again while no answer comes, and with a token where it wants to know who asks.
 *
 * @typedef {{ status: number, retryAfter?: number | undefined, body: unknown }} Answer
 */

import { backoff, byId, sleep } from './tools.js'
import { announce } from './words.js'

// Under an API Gateway stage the page is at /prod or /prod/. The origin in front keeps a path of `//host`
// from naming another host.
export const BASE = location.origin + location.pathname.replace(/\/*$/, '/')

/** @param {string | null} header Retry-After @returns {number | undefined} seconds */
function readRetryAfter(header) {
  const seconds = Number(header ?? Number.NaN)
  return seconds >= 0 ? seconds : undefined
}

/** @param {string} text @returns {unknown} */
function readJson(text) {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** @param {string} imageId @param {'' | '/original' | '/thumbnail' | '/preview' | '/event' | '/retry'} [part] */
export const imageUrl = (imageId, part = '') => `${BASE}images/${encodeURIComponent(imageId)}${part}`

/**
 * @param {string} url of the API
 * @param {{ method?: string, headers?: Record<string, string>, body?: string, seconds?: number }} [options] `seconds`
 *   is how long it may take
 * @returns {Promise<Answer | undefined>} nothing when no answer came
 */
export async function ask(url, { method = 'GET', headers = {}, body = '', seconds = 15 } = {}) {
  for (;;) {
    const used = token
    try {
      const response = await fetch(url, {
        method,
        headers: { ...headers, ...authorization() },
        ...(body ? { body } : {}),
        cache: 'no-cache',
        signal: AbortSignal.timeout(seconds * 1000),
      })
      const challenge = response.headers.get('www-authenticate')
      const answer = {
        status: response.status,
        retryAfter: readRetryAfter(response.headers.get('retry-after')),
        body: readJson(await response.text()),
      }
      if (!wantsToken(answer.status, challenge)) return answer
    } catch {
      return undefined
    }
    await signIn(used)
  }
}

/**
 * Posts a file, as it is or in a form. XMLHttpRequest, because `fetch` does not report how much has been sent.
 *
 * @param {string} url of the API, or of its bucket
 * @param {File | FormData} body
 * @param {Record<string, string>} headers
 * @param {(percent: number) => void} onProgress
 * @returns {Promise<Answer | undefined>} nothing when no answer came
 */
export async function post(url, body, headers, onProgress) {
  for (;;) {
    const used = token
    const { answer, challenge } = await postOnce(url, body, headers, onProgress)
    if (!answer || !wantsToken(answer.status, challenge)) return answer
    await signIn(used)
  }
}

/**
 * @param {string} url
 * @param {File | FormData} body
 * @param {Record<string, string>} headers
 * @param {(percent: number) => void} onProgress
 * @returns {Promise<{ answer?: Answer, challenge: string | null }>}
 */
function postOnce(url, body, headers, onProgress) {
  return new Promise((resolve) => {
    const xhr = new XMLHttpRequest()
    xhr.open('POST', url)
    // The bucket has its own proof in the form, and must not learn the token.
    const isOwn = url.startsWith(BASE)
    const all = isOwn ? { ...headers, ...authorization() } : headers
    for (const [name, value] of Object.entries(all)) xhr.setRequestHeader(name, value)
    xhr.upload.onprogress = (event) => {
      if (event.lengthComputable) onProgress(Math.floor((event.loaded / event.total) * 100))
    }
    xhr.onload = () => {
      /** @param {string} name */
      const header = (name) => (isOwn ? xhr.getResponseHeader(name) : null)
      resolve({
        answer: {
          status: xhr.status,
          retryAfter: readRetryAfter(header('retry-after')),
          body: readJson(xhr.responseText),
        },
        challenge: header('www-authenticate'),
      })
    }
    xhr.timeout = 900_000 // as long as a form of POST /uploads is good
    xhr.onerror = xhr.ontimeout = () => resolve({ challenge: null })
    xhr.send(body)
  })
}

/** randomUUID exists only on https and localhost; the page may be on http in a home network. */
export const newIdempotencyKey = () => crypto.getRandomValues(new Uint32Array(4)).join('-')

/**
 * Where a picture is. With a token the URL is asked for: an <img> cannot send one, and the bucket must not get it.
 *
 * @param {string} imageId
 * @param {'/original' | '/thumbnail' | '/preview'} part
 * @returns {string | Promise<string>}
 */
export function pictureUrl(imageId, part) {
  const url = imageUrl(imageId, part)
  if (!token) return url
  return ask(url, { headers: { accept: 'application/json' } }).then((answer) =>
    String(Object(answer?.body).url ?? ''),
  )
}

/* Who is asking */

const TOKEN = 'image-analyzer-token'
/** For this tab only: a reload keeps it. */
export let token = kept()
/** Settles with the next token. @type {Promise<void> | undefined} */
let signingIn

function kept() {
  try {
    return sessionStorage.getItem(TOKEN) ?? ''
  } catch {
    return '' // a browser that keeps nothing
  }
}

/** @returns {Record<string, string>} */
const authorization = () => (token ? { authorization: `Bearer ${token}` } : {})

/** @param {number} status @param {string | null} challenge */
const wantsToken = (status, challenge) => status === 401 && /^bearer/i.test(challenge ?? '')

/** @param {string} used the token that was refused; while there has come another, that one is tried first */
function signIn(used) {
  if (used !== token) return Promise.resolve()
  signingIn ??= new Promise((done) => {
    const form = byId('sign-in', HTMLFormElement)
    const field = byId('token', HTMLInputElement)
    const title = byId('sign-in-title', HTMLElement)
    title.textContent = used ? 'The token is not valid, or it has expired.' : 'Who are you?'
    for (const dialog of document.querySelectorAll('dialog')) dialog.close()
    form.hidden = false
    field.value = ''
    field.focus()
    announce(`${title.textContent} A token is needed.`)
    form.onsubmit = (event) => {
      event.preventDefault()
      token = field.value.trim().replace(/^bearer +/i, '')
      try {
        sessionStorage.setItem(TOKEN, token)
      } catch {
        // Then it is good until the page is left.
      }
      form.hidden = true
      signingIn = undefined
      done()
    }
  })
  return signingIn
}

/* While the server is gone */

/** Settles when it is back. @type {Promise<boolean> | undefined} */
export let outage

/**
 * After a request without an answer: holds everything until the server answers again.
 *
 * @returns whether the server was gone, as opposed to just this connection
 */
export function lost() {
  outage ??= waitForServer().finally(() => {
    outage = undefined
  })
  return outage
}

/** Asks until there is an answer. @param {string} url */
export async function askUntilAnswered(url) {
  for (;;) {
    const answer = await ask(url)
    if (answer) return answer
    await lost()
    await sleep(1)
  }
}

async function waitForServer() {
  const banner = byId('outage', HTMLElement)
  const text = byId('outage-text', HTMLElement)
  for (let attempt = 0; ; attempt++) {
    if (await ask(`${BASE}health`, { seconds: 5 })) {
      if (attempt > 0) announce('The server answers again.')
      banner.hidden = true
      return attempt > 0
    }
    if (attempt === 0) announce('The server does not answer. The page keeps trying.')
    banner.hidden = false
    for (let left = Math.min(10, backoff(attempt)); left > 0; left--) {
      text.textContent = `Next try in ${left} s.`
      await sleep(1)
    }
    text.textContent = 'Trying now.'
  }
}

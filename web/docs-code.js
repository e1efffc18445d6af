// Examples of requests, made of openapi.json: what a parameter or a body has as its example is sent.

/** @typedef {any} Json a part of the document */

/**
 * What all languages say in their own way.
 *
 * @typedef {object} Request
 * @property {string} method in capitals
 * @property {string} url
 * @property {Record<string, string>} headers
 * @property {'bearer' | 'signature' | undefined} proof who one is, where the API asks for it
 * @property {string | undefined} file whose bytes are the body
 * @property {Json} json the body, unless it is a file
 * @property {'json' | 'text' | 'nothing' | 'file'} answer
 * @property {string} saveAs where the answer is a file
 */

/**
 * @param {Json} api
 * @param {string} base where the document is, with a slash at the end
 * @param {string} method
 * @param {string} path
 * @returns {Request}
 */
function requestOf(api, base, method, path) {
  const item = api.paths[path]
  const operation = item[method]
  /** @type {Json[]} */
  const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])]
  /** @param {string} where */
  const given = (where) => parameters.filter((one) => one.in === where && one.example !== undefined)

  const address = given('path').reduce(
    (url, { name, example }) => url.replace(`{${name}}`, encodeURIComponent(example)),
    path.slice(1),
  )
  // An array is repeated, or joined where the document says so.
  const query = given('query').flatMap(({ name, example, explode }) => {
    const values = [example].flat().map(encodeURIComponent)
    return (explode === false ? [values.join(',')] : values).map((value) => `${name}=${value}`)
  })

  const content = operation.requestBody?.content ?? {}
  const type = ['application/octet-stream', 'application/json'].find((known) => content[known] !== undefined)
  const json = type === 'application/json' ? content[type].example : undefined
  const file =
    type && json === undefined ? parameters.find(({ name }) => name === 'filename').example : undefined

  const [scheme] = (operation.security ?? api.security).flatMap(Object.keys)
  const proof =
    scheme && (api.components.securitySchemes[scheme].scheme === 'bearer' ? 'bearer' : 'signature')
  const { 302: redirect, ...others } = operation.responses
  // The bucket refuses a session token beside a URL that is signed already.
  const follow = redirect && proof !== 'signature'
  const success = others[Object.keys(others).find((status) => status.startsWith('2')) ?? '']
  const [answered = ''] = Object.keys(success.content ?? {})
  const extension = /\.\w+$/.exec(new URL(redirect?.headers.Location.example ?? base).pathname)?.[0] ?? ''
  return {
    method: method.toUpperCase(),
    url: `${base}${address}${query.length > 0 ? `?${query.join('&')}` : ''}`,
    headers: {
      ...(redirect && !follow ? { Accept: 'application/json' } : {}),
      ...(type ? { 'Content-Type': type } : {}),
    },
    proof,
    file,
    json,
    answer: follow ? 'file' : answered.endsWith('json') ? 'json' : answered ? 'text' : 'nothing',
    saveAs: `${path.split('/').at(-1)}${extension}`,
  }
}

/** @param {Request} request */
function curl({ method, url, headers, proof, file, json, answer, saveAs }) {
  /** @param {string} text */
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`
  const hasBody = file !== undefined || json !== undefined
  const verb = hasBody || method === 'GET' ? '' : `-X ${method} `
  const lines = [`curl ${answer === 'file' ? '-fL' : '-i'} ${verb}${quoted(url)}`]
  if (proof === 'bearer') lines.push('-H "Authorization: Bearer $TOKEN"')
  if (proof === 'signature') {
    lines.push(
      '--aws-sigv4 "aws:amz:$AWS_REGION:execute-api"',
      '--user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"',
      '-H "X-Amz-Security-Token: $AWS_SESSION_TOKEN"',
    )
  }
  for (const [name, value] of Object.entries(headers)) lines.push(`-H ${quoted(`${name}: ${value}`)}`)
  if (file !== undefined) lines.push(`--data-binary ${quoted(`@${file}`)}`)
  if (json !== undefined) lines.push(`-d ${quoted(JSON.stringify(json))}`)
  if (answer === 'file') lines.push(`-o ${quoted(saveAs)}`)
  return `${lines.join(' \\\n  ')}\n`
}

/** @param {Request} request */
function javaScript({ method, url, headers, proof, file, json, answer, saveAs }) {
  /** @param {string} text */
  const quoted = (text) => `'${text.replaceAll(/[\\']/g, '\\$&')}'`
  const files = [...(file === undefined ? [] : ['readFile']), ...(answer === 'file' ? ['writeFile'] : [])]
  const named = Object.entries(headers).map(([name, value]) => `${quoted(name)}: ${quoted(value)}`)
  if (proof) named.unshift("Authorization: 'Bearer ' + process.env.TOKEN")
  const options = [
    ...(method === 'GET' ? [] : [`method: ${quoted(method)}`]),
    ...(named.length > 0 ? [`headers: { ${named.join(', ')} }`] : []),
    ...(file === undefined ? [] : [`body: await readFile(${quoted(file)})`]),
    ...(json === undefined ? [] : [`body: JSON.stringify(${JSON.stringify(json)})`]),
  ]
  const rest = options.length > 0 ? `, {\n${options.map((line) => `  ${line},\n`).join('')}}` : ''
  return [
    ...(files.length > 0 ? [`import { ${files.join(', ')} } from 'node:fs/promises'\n`] : []),
    `const response = await fetch(${quoted(url)}${rest})`,
    {
      json: 'console.log(response.status, JSON.stringify(await response.json(), null, 2))',
      text: 'console.log(response.status, await response.text())',
      nothing: 'console.log(response.status)',
      file: `if (!response.ok) throw new Error(await response.text())\nawait writeFile(${quoted(saveAs)}, new Uint8Array(await response.arrayBuffer()))\nconsole.log(response.status)`,
    }[answer],
    '',
  ].join('\n')
}

/**
 * A value as Python writes it.
 *
 * @param {Json} value
 * @returns {string}
 */
function pythonValue(value) {
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  if (value === null) return 'None'
  if (Array.isArray(value)) return `[${value.map(pythonValue).join(', ')}]`
  if (typeof value !== 'object') return JSON.stringify(value)
  return `{${Object.entries(value)
    .map(([name, part]) => `${JSON.stringify(name)}: ${pythonValue(part)}`)
    .join(', ')}}`
}

/** @param {Request} request */
function python({ method, url, headers, proof, file, json, answer, saveAs }) {
  const options = [
    ...(method === 'GET' ? [] : [`method=${pythonValue(method)}`]),
    ...(Object.keys(headers).length > 0 ? [`headers=${pythonValue(headers)}`] : []),
    ...(file === undefined ? [] : [`data=open(${pythonValue(file)}, "rb").read()`]),
    ...(json === undefined ? [] : [`data=json.dumps(${pythonValue(json)}).encode()`]),
  ]
  const rest = options.map((line) => `    ${line},\n`).join('')
  return [
    ...(answer === 'json' || json !== undefined ? ['import json'] : []),
    ...(proof ? ['import os'] : []),
    'import urllib.request\n',
    `request = urllib.request.Request(${rest ? `\n    ${pythonValue(url)},\n${rest}` : pythonValue(url)})`,
    // Not to the bucket, which refuses a request with two proofs.
    ...(proof ? ['request.add_unredirected_header("Authorization", "Bearer " + os.environ["TOKEN"])'] : []),
    'with urllib.request.urlopen(request) as response:',
    {
      json: '    print(response.status, json.dumps(json.load(response), indent=2))',
      text: '    print(response.status, response.read().decode())',
      nothing: '    print(response.status)',
      file: `    open(${pythonValue(saveAs)}, "wb").write(response.read())\n    print(response.status)`,
    }[answer],
    '',
  ].join('\n')
}

/**
 * A program for each language, by its name. Only curl signs requests without a library.
 *
 * @param {Json} api
 * @param {string} base where the document is, with a slash at the end
 * @param {string} method
 * @param {string} path
 * @returns {Record<string, string>}
 */
export function codeOf(api, base, method, path) {
  const request = requestOf(api, base, method, path)
  const signed = request.proof === 'signature'
  return {
    curl: curl(request),
    ...(signed ? {} : { JavaScript: javaScript(request), Python: python(request) }),
  }
}

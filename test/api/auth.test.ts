import { execFile, spawnSync } from 'node:child_process'
import { createServer, type Server } from 'node:http'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Hono } from 'hono'
import { exportJWK, generateKeyPair, importJWK, type JWK, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { identifyBy } from '../../api/deps.ts'
import { ApiError, problem } from '../../api/schemas.ts'
import { listen } from '../../packages/embedded-aws/gateway/index.ts'
import { readAuthConfig } from '../../shared/config.ts'
import { startSystem } from '../system.ts'
import { SILENT, skipped } from '../tools.ts'
import { until } from '../until.ts'

const photo = join(import.meta.dirname, '../fixtures/grace-hopper.jpg')

/** An app that answers with the owner, as the API's routes learn it. */
const ownerApp = (auth: Record<string, string>) => {
  const identify = identifyBy(readAuthConfig(auth))
  const app = new Hono()
  app.get('/', async (c) => c.text(await identify(c)))
  app.onError((error) => {
    if (error instanceof ApiError) return problem(error, '00000000-0000-4000-8000-000000000000')
    return new Response(error.message, { status: 503 })
  })
  return app
}
const unauthenticated = async (response: Response | Promise<Response>) => {
  const answer = await response
  expect(answer.status).toBe(401)
  expect(answer.headers.get('www-authenticate')).toMatch(/^(Bearer|AWS4-HMAC-SHA256)/)
  expect(await answer.json()).toMatchObject({
    code: 'UNAUTHENTICATED',
    detail: expect.stringMatching(/^[A-Z].+\.$/),
  })
}

describe('AUTH', () => {
  it('has to be said', () => {
    expect(() => readAuthConfig({})).toThrow(/AUTH/)
    expect(() => readAuthConfig({ AUTH: 'jwt', JWT_ISSUER: 'https://issuer.example' })).toThrow(
      /JWT_AUDIENCE/,
    )
  })
  it('looks at tokens where their issuer or audience is set', () => {
    for (const AUTH of ['none', 'iam'])
      for (const name of ['JWT_ISSUER', 'JWT_AUDIENCE']) {
        const why = `${name}: it has no effect with AUTH=${AUTH}: set AUTH=jwt, or leave it out`
        expect(() => readAuthConfig({ AUTH, [name]: 'https://issuer.example' })).toThrow(why)
        expect(readAuthConfig({ AUTH, [name]: '' })).toEqual({ AUTH })
      }
  })
  it('is none where everybody is the same owner', async () => {
    expect(await (await ownerApp({ AUTH: 'none' }).request('/')).text()).toBe('anonymous')
  })
})

describe('AUTH=jwt', () => {
  let issuer: Server
  let JWT_ISSUER: string
  let requests = 0
  let broken = false
  /** What the issuer answers under a path, where it is not the usual. */
  let unusual: Record<string, [status: number, headers: Record<string, string>, body: string]> = {}
  let keys: Awaited<ReturnType<typeof generateKeyPair>>
  let others: Awaited<ReturnType<typeof generateKeyPair>>
  const published: JWK[] = []
  let app: ReturnType<typeof ownerApp>
  beforeAll(async () => {
    keys = await generateKeyPair('ES256')
    others = await generateKeyPair('ES256')
    published.push({ ...(await exportJWK(keys.publicKey)), kid: 'one', alg: 'ES256', use: 'sig' })
    issuer = createServer((request, response) => {
      requests += 1
      if (broken) return response.writeHead(500).end()
      const [status, headers, text] = unusual[request.url ?? ''] ?? []
      // Never.
      if (status === 0) return undefined
      if (status !== undefined) return response.writeHead(status, headers).end(text)
      const body = request.url?.includes('openid-configuration')
        ? { issuer: JWT_ISSUER, jwks_uri: `${JWT_ISSUER}/keys` }
        : { keys: published }
      return response.end(JSON.stringify(body))
    })
    JWT_ISSUER = `http://127.0.0.1:${await listen(issuer, 0)}`
    app = ownerApp({ AUTH: 'jwt', JWT_ISSUER, JWT_AUDIENCE: 'images' })
  })
  afterAll(() => {
    issuer.closeAllConnections()
    issuer.close()
  })

  const header = { alg: 'ES256', kid: 'one' }
  const token = (change: (jwt: SignJWT) => SignJWT = (jwt) => jwt, key = keys.privateKey, more = {}) =>
    change(
      new SignJWT({})
        .setProtectedHeader({ ...header, ...more })
        .setIssuer(JWT_ISSUER)
        .setAudience('images')
        .setSubject('user-1')
        .setExpirationTime('5m'),
    ).sign(key)
  const ask = (authorization?: string) =>
    app.request('/', authorization === undefined ? {} : { headers: { authorization } })

  it('is not kept from the next request by an issuer that was away', async () => {
    broken = true
    expect((await ask(`Bearer ${await token()}`)).status).toBe(503)
    broken = false
    expect((await ask(`Bearer ${await token()}`)).status).toBe(200)
  })
  it('is named, with the reason, where it is away', async () => {
    const away = ownerApp({ AUTH: 'jwt', JWT_ISSUER: 'http://127.0.0.1:2', JWT_AUDIENCE: 'images' })
    const answer = await away.request('/', { headers: { authorization: `Bearer ${await token()}` } })
    expect(await answer.text()).toBe(
      'http://127.0.0.1:2/.well-known/openid-configuration cannot be fetched (connect ECONNREFUSED 127.0.0.1:2).',
    )
  })
  it('is not asked for keys by what is no token of the right kind, so that 401 is also said while it is away', async () => {
    const fresh = ownerApp({ AUTH: 'jwt', JWT_ISSUER, JWT_AUDIENCE: 'images' })
    const shared = await new SignJWT({}).setProtectedHeader({ alg: 'HS256' }).sign(Buffer.alloc(32))
    const before = requests
    for (const authorization of ['Bearer junk', 'Bearer a.b.c', `Bearer ${shared}`])
      await unauthenticated(fresh.request('/', { headers: { authorization } }))
    expect(requests).toBe(before)
  })
  it('knows the caller by the subject of a token, and fetches the keys once', async () => {
    const before = requests
    for (const subject of ['user-1', 'user-2', 'user-1']) {
      const response = await ask(`Bearer ${await token((jwt) => jwt.setSubject(subject))}`)
      expect(await response.text()).toBe(`jwt:${subject}`)
    }
    expect(requests - before).toBeLessThanOrEqual(1)
  })
  it('is known by its keys for two hours, also while it is away', async () => {
    const fresh = ownerApp({ AUTH: 'jwt', JWT_ISSUER, JWT_AUDIENCE: 'images' })
    const answer = async () => fresh.request('/', { headers: { authorization: `Bearer ${await token()}` } })
    expect((await answer()).status).toBe(200)
    vi.useFakeTimers({ toFake: ['Date'] })
    onTestFinished(() => {
      broken = false
      vi.useRealTimers()
    })
    broken = true
    const since = Date.now()
    for (const [minutes, expected] of [
      [119, 200],
      [121, 503],
    ] as const) {
      vi.setSystemTime(since + minutes * 60_000)
      expect((await answer()).status).toBe(expected)
    }
  })
  it('says what is wrong with a token, and of none only that it is wanted', async () => {
    expect((await ask()).headers.get('www-authenticate')).toBe('Bearer')
    expect((await ask('Bearer junk')).headers.get('www-authenticate')).toBe('Bearer error="invalid_token"')
  })
  it.each<[string, () => Promise<string | undefined>]>([
    ['nothing', async () => undefined],
    ['another scheme', async () => 'Basic dTpw'],
    ['another scheme with a token', async () => `NoBearer ${await token()}`],
    ['no token', async () => 'Bearer '],
    ['two tokens', async () => `Bearer ${await token()} ${await token()}`],
    ['junk', async () => 'Bearer junk'],
    [
      'a token that is over',
      async () => `Bearer ${await token((jwt) => jwt.setExpirationTime(Math.floor(Date.now() / 1000) - 60))}`,
    ],
    ['a token that is not valid yet', async () => `Bearer ${await token((jwt) => jwt.setNotBefore('5m'))}`],
    ['a token for another audience', async () => `Bearer ${await token((jwt) => jwt.setAudience('films'))}`],
    [
      'a token of another issuer',
      async () => `Bearer ${await token((jwt) => jwt.setIssuer('https://other.example'))}`,
    ],
    [
      'a token without an end',
      async () =>
        `Bearer ${await new SignJWT({ sub: 'user-1', iss: JWT_ISSUER, aud: 'images' }).setProtectedHeader(header).sign(keys.privateKey)}`,
    ],
    [
      'a subject that is no text',
      async () => `Bearer ${await token((jwt) => jwt.setSubject('user-\ud800'))}`,
    ],
    [
      'a subject of more than 255 characters',
      async () => `Bearer ${await token((jwt) => jwt.setSubject('x'.repeat(256)))}`,
    ],
    ...['logout+jwt', 'application/logout+jwt', 'dpop+jwt', 'jwtapplication/', ''].map(
      (typ): [string, () => Promise<string>] => [
        `a token of the type ${JSON.stringify(typ)}`,
        async () => `Bearer ${await token(undefined, undefined, { typ })}`,
      ],
    ),
    ['a token without a subject', async () => `Bearer ${await token((jwt) => jwt.setSubject(''))}`],
    ['a token signed by somebody else', async () => `Bearer ${await token(undefined, others.privateKey)}`],
    [
      'a token with a changed payload',
      async () =>
        `Bearer ${(await token()).replace(/\.[^.]+\./, `.${Buffer.from('{"sub":"root"}').toString('base64url')}.`)}`,
    ],
    [
      'a token without a signature',
      async () => {
        const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
        return `Bearer ${part({ alg: 'none' })}.${part({ sub: 'root', iss: JWT_ISSUER, aud: 'images', exp: 4e9 })}.`
      },
    ],
    [
      'a token signed with the public key as a secret',
      async () => {
        const secret = Buffer.from(JSON.stringify(await exportJWK(keys.publicKey)))
        return `Bearer ${await new SignJWT({ sub: 'root', iss: JWT_ISSUER, aud: 'images', exp: 4e9 }).setProtectedHeader({ alg: 'HS256' }).sign(secret)}`
      },
    ],
  ])('refuses %s', async (_name, make) => {
    await unauthenticated(ask(await make()))
  })

  it('takes a subject of one character', async () => {
    const short = await token((jwt) => jwt.setSubject('x'))
    expect(await (await ask(`Bearer ${short}`)).text()).toBe('jwt:x')
  })
  it('takes tokens of every algorithm with a public key', async () => {
    const rsa = await generateKeyPair('RS256', { extractable: true })
    const pairs = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'].map((alg) => ({ alg, ...rsa }))
    for (const alg of ['ES384', 'ES512', 'EdDSA'])
      pairs.push({ alg, ...(await generateKeyPair(alg, { extractable: true })) })
    for (const { alg, publicKey } of pairs)
      published.push({ ...(await exportJWK(publicKey)), kid: alg, alg, use: 'sig' })
    onTestFinished(() => {
      published.length = 1
    })
    // An API that knows no keys yet.
    const fresh = ownerApp({ AUTH: 'jwt', JWT_ISSUER, JWT_AUDIENCE: 'images' })
    for (const { alg, privateKey } of pairs) {
      const key = await importJWK(await exportJWK(privateKey), alg)
      if (!('algorithm' in key)) throw new Error(`The key of ${alg} is no key pair's.`)
      const authorization = `Bearer ${await token(undefined, key, { alg, kid: alg })}`
      expect(await (await fresh.request('/', { headers: { authorization } })).text(), alg).toBe('jwt:user-1')
    }
  })

  it.each(['JWT', 'jwt', 'at+jwt', 'application/at+jwt'])('takes a token of the type %s', async (typ) => {
    const typed = await token(undefined, undefined, { typ })
    expect(await (await ask(`Bearer ${typed}`)).text()).toBe('jwt:user-1')
  })

  /** Keys that the owner of the token has made, where the issuer never said they are. */
  const planted = async () => {
    const jwk = { ...(await exportJWK(others.publicKey)), kid: 'one', alg: 'ES256', use: 'sig' }
    unusual['/planted'] = [200, {}, JSON.stringify({ keys: [jwk] })]
    unusual['/planted-metadata'] = [
      200,
      {},
      JSON.stringify({ issuer: JWT_ISSUER, jwks_uri: `${JWT_ISSUER}/planted` }),
    ]
  }
  const METADATA = '/.well-known/openid-configuration'
  const spaces = ' '.repeat(1_100_000)
  it.each<[string, () => typeof unusual]>([
    ['metadata from elsewhere', () => ({ [METADATA]: [302, { location: '/planted-metadata' }, ''] })],
    ['keys from elsewhere', () => ({ '/keys': [302, { location: '/planted' }, ''] })],
    [
      'metadata of endless length',
      () => ({
        [METADATA]: [
          200,
          {},
          `${spaces}${JSON.stringify({ issuer: JWT_ISSUER, jwks_uri: `${JWT_ISSUER}/planted` })}`,
        ],
      }),
    ],
    ['keys of endless length', () => ({ '/keys': [200, {}, `${spaces}${unusual['/planted']?.[2]}`] })],
    [
      'metadata of another issuer',
      () => ({
        [METADATA]: [
          200,
          {},
          JSON.stringify({ issuer: `${JWT_ISSUER}/`, jwks_uri: `${JWT_ISSUER}/planted` }),
        ],
      }),
    ],
    [
      'keys that come over plain HTTP from another machine',
      () => ({
        [METADATA]: [
          200,
          {},
          JSON.stringify({
            issuer: JWT_ISSUER,
            jwks_uri: `${JWT_ISSUER.replace('127.0.0.1', '0.0.0.0')}/planted`,
          }),
        ],
      }),
    ],
    [
      'metadata that come with an error',
      () => ({
        [METADATA]: [500, {}, JSON.stringify({ issuer: JWT_ISSUER, jwks_uri: `${JWT_ISSUER}/planted` })],
      }),
    ],
  ])('is not taken in by %s', async (_name, answers) => {
    await planted()
    unusual = { ...unusual, ...answers() }
    // An API that knows no keys yet.
    const fresh = ownerApp({ AUTH: 'jwt', JWT_ISSUER, JWT_AUDIENCE: 'images' })
    const before = requests
    const forged = await token(undefined, others.privateKey)
    const answer = await fresh.request('/', { headers: { authorization: `Bearer ${forged}` } })
    unusual = {}
    expect(answer.status).toBe(503)
    expect(requests).toBeGreaterThan(before)
  })

  it.each<[string, (typeof unusual)[string]]>([
    ['are an error', [500, {}, '']],
    ['are no JSON', [200, {}, 'keys']],
    ['are no list', [200, {}, '{}']],
    ['do not come', [0, {}, '']],
  ])('does not say that a token is wrong when the keys %s', async (what, answer) => {
    unusual = { '/keys': answer }
    onTestFinished(() => {
      unusual = {}
      vi.restoreAllMocks()
    })
    const { timeout } = AbortSignal
    const begun = requests
    // When the keys are asked for, the three seconds are over.
    vi.spyOn(AbortSignal, 'timeout').mockImplementation((ms) => {
      if (requests === begun || what !== 'do not come') return timeout(ms)
      return AbortSignal.abort(new DOMException('The time is up.', 'TimeoutError'))
    })
    const fresh = ownerApp({ AUTH: 'jwt', JWT_ISSUER, JWT_AUDIENCE: 'images' })
    const answered = await fresh.request('/', { headers: { authorization: `Bearer ${await token()}` } })
    expect(answered.status).toBe(503)
  })

  it('takes keys of a megabyte, and not of one byte more', async () => {
    for (const [more, expected] of [
      [1, 503],
      [0, 200],
    ] as const) {
      unusual = { '/keys': [200, {}, JSON.stringify({ keys: published }).padEnd(1_000_000 + more)] }
      const fresh = ownerApp({ AUTH: 'jwt', JWT_ISSUER, JWT_AUDIENCE: 'images' })
      const answer = await fresh.request('/', { headers: { authorization: `Bearer ${await token()}` } })
      unusual = {}
      expect(answer.status).toBe(expected)
    }
  })

  it('takes an issuer whose URL has a path, and a slash at its end', async () => {
    for (const end of ['/tenant', '/tenant/']) {
      const issuer = `${JWT_ISSUER}${end}`
      unusual = {
        [`/tenant${METADATA}`]: [200, {}, JSON.stringify({ issuer, jwks_uri: `${JWT_ISSUER}/keys` })],
      }
      const tenant = ownerApp({ AUTH: 'jwt', JWT_ISSUER: issuer, JWT_AUDIENCE: 'images' })
      const authorization = `Bearer ${await token((jwt) => jwt.setIssuer(issuer))}`
      const answer = await tenant.request('/', { headers: { authorization } })
      unusual = {}
      expect(await answer.text()).toBe('jwt:user-1')
    }
  })

  it('has an issuer that is asked over HTTPS, unless it is on this machine', () => {
    const read = (JWT_ISSUER: string) => readAuthConfig({ AUTH: 'jwt', JWT_ISSUER, JWT_AUDIENCE: 'images' })
    for (const url of ['http://issuer.example', 'http://localhost.issuer.example', 'ftp://issuer.example'])
      expect(() => read(url), url).toThrow(/JWT_ISSUER: .*https/)
    for (const url of ['https://issuer.example/path', 'http://localhost:8080', 'http://[::1]:8080'])
      expect(read(url)).toMatchObject({ JWT_ISSUER: url })
  })
})

describe('AUTH=iam', () => {
  const app = ownerApp({ AUTH: 'iam' })
  const ask = (requestContext: unknown) => app.request('/', {}, { requestContext })

  it('knows the caller by the unique id that API Gateway names, without the session', async () => {
    const rest = await ask({ identity: { accountId: '123456789012', caller: 'AROAEXAMPLE:session-7' } })
    expect(await rest.text()).toBe('iam:123456789012:AROAEXAMPLE')
    const http = await ask({ authorizer: { iam: { accountId: '123456789012', callerId: 'AIDAEXAMPLE' } } })
    expect(await http.text()).toBe('iam:123456789012:AIDAEXAMPLE')
  })
  it('takes the shortest ids', async () => {
    const rest = await ask({ identity: { accountId: '1', caller: 'A' } })
    expect(await rest.text()).toBe('iam:1:A')
    const http = await ask({ authorizer: { iam: { accountId: '1', callerId: 'A' } } })
    expect(await http.text()).toBe('iam:1:A')
  })
  it('refuses a request that did not come through API Gateway', async () => {
    await unauthenticated(app.request('/'))
  })
  it.each([
    [undefined],
    [{}],
    [{ identity: { accountId: null, caller: null } }],
    [{ identity: { accountId: '1', caller: '' } }],
    [{ identity: { accountId: '1', caller: ':s' } }],
  ])('refuses a request of which API Gateway says %j', async (context) => {
    await unauthenticated(ask(context))
  })

  const signs = spawnSync('curl', ['--aws-sigv4', 'aws:amz', '--version']).status === 0
  it.skipIf(!signs)(
    `is verified on this machine too${skipped(signs ? [] : ['a curl that signs'])}`,
    async () => {
      const system = await startSystem(
        {
          AUTH: 'iam',
          REKOGNITION: 'stand-in',
          PORT: '0',
          AWS_PORT: '0',
          AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
          AWS_SECRET_ACCESS_KEY: 'right',
        },
        SILENT,
      )
      const curl = async (user: string, ...args: string[]) => {
        const { stdout } = await promisify(execFile)('curl', [
          ...['-s', '--aws-sigv4', 'aws:amz:us-east-1:execute-api', '--user', user, ...args],
        ])
        return JSON.parse(stdout)
      }
      try {
        const upload = ['--data-binary', `@${photo}`, '-H', 'content-type: image/jpeg']
        const { imageId } = await curl('AKIDEXAMPLE:right', ...upload, `${system.url}/images?filename=a.jpg`)
        await until('the image is completed', async () => {
          const { status } = await curl('AKIDEXAMPLE:right', `${system.url}/images/${imageId}?wait=20`)
          return status === 'completed' ? true : undefined
        })
        for (const [wrong, why, ...as] of [
          ['AKIDEXAMPLE:wrong', /^The signature does not match the request: its secret access key /],
          ['OTHER:right', /^The access key of the signature is not known here\.$/],
          ['AKIDEXAMPLE:right', /^Sign the request for the .* execute-api\.$/, 'aws:amz:us-east-1:s3'],
        ] as const) {
          const signing = as.flatMap((scope) => ['--aws-sigv4', scope])
          const refused = { code: 'UNAUTHENTICATED', detail: expect.stringMatching(why) }
          expect(await curl(wrong, ...upload, ...signing, `${system.url}/images`)).toMatchObject(refused)
          expect(await curl(wrong, ...signing, `${system.url}/images`)).toMatchObject(refused)
          expect(await curl(wrong, ...signing, `${system.url}/health`)).toEqual({ status: 'ok' })
        }
        const old = ['-H', 'x-amz-date: 20260101T000000Z', `${system.url}/images`]
        expect(await curl('AKIDEXAMPLE:right', ...old)).toMatchObject({
          detail: 'The X-Amz-Date of the request has to be within five minutes of now.',
        })
        await unauthenticated(fetch(`${system.url}/images`))
        expect((await fetch(`${system.url}/health`)).status).toBe(200)
      } finally {
        await system.stop()
      }
    },
  )
})

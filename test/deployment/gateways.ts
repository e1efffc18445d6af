import { httpEvent, restEvent } from '../../build/events.ts'

interface Gateway {
  name: string
  /** What stands before the API's own paths in the URLs that clients use. */
  prefix: string
  event: (...request: Parameters<typeof restEvent>) => object
}
const behind = (prefix: string, event: ReturnType<typeof restEvent>) => ({
  ...event,
  path: prefix + event.path,
  rawPath: prefix + event.path,
  requestContext: {
    ...event.requestContext,
    path: prefix + event.path,
    domainName: 'api.example.com',
  },
})
/** Ways to the API, with events as AWS sends them (see build/events.ts; with a base path, as LocalStack recorded them). */
export const GATEWAYS: Gateway[] = [
  { name: 'a REST API', prefix: '/v1', event: restEvent },
  {
    name: 'a REST API behind a base path',
    prefix: '/pictures',
    event: (...request) => behind('/pictures', restEvent(...request)),
  },
  {
    name: 'a REST API behind a base path like a route of ours',
    prefix: '/team/images',
    event: (...request) => behind('/team/images', restEvent(...request)),
  },
  {
    name: 'a REST API behind a domain that leaves the stage to the caller',
    prefix: '/pictures/v1',
    event: (...request) => behind('/pictures/v1', restEvent(...request)),
  },
  {
    name: 'an HTTP API',
    prefix: '',
    event: (method, path, type, body) => httpEvent(method, path, type, body, '$default'),
  },
  {
    name: 'a REST API with a resource for every route',
    prefix: '/pictures',
    event: (...request) => {
      const event = behind('/pictures', restEvent(...request))
      const [, imageId] = /^\/images\/([^/]+)/.exec(request[1]) ?? []
      const path = request[1].replace(/(?<=.)\/$/, '')
      if (imageId === undefined) return { ...event, resource: path, pathParameters: null }
      return { ...event, resource: path.replace(imageId, '{imageId}'), pathParameters: { imageId } }
    },
  },
  { name: 'an HTTP API with a named stage', prefix: '/v1', event: httpEvent },
  {
    name: 'an HTTP API with a greedy route and a base path',
    prefix: '/pictures',
    event: (method, path, type, body) => {
      const event = httpEvent(method, path, type, body, '$default')
      const { pathParameters } = restEvent(method, path)
      if (pathParameters === null) return { ...event, routeKey: `ANY ${path}` }
      // With the slash at the end of a path, as MiniStack has it; a REST API leaves that out.
      return { ...event, routeKey: 'ANY /{proxy+}', pathParameters: { proxy: path.slice(1) } }
    },
  },
  {
    name: 'an HTTP API of payload 1.0 with a named stage',
    prefix: '/v1',
    event: (...request) => {
      const event = restEvent(...request)
      const path = `/v1${event.path}`
      return { ...event, version: '1.0', path, resource: '/$default', pathParameters: null }
    },
  },
]
